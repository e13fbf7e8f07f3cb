"""The store of a run: opened once, from its URI or from the filesystem object that a local run was given."""

from __future__ import annotations

import pickle
from functools import cached_property
from typing import Any

from paceline import _contract as c
from paceline.agent.config import AgentConfig
from paceline.storage import Storage, StorageError
from paceline.storage import resolve as resolve_uri


class Stores:
    """Opens storage paths as this run's configuration means them. Its calls may block."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config

    def resolve(self, uri: str) -> tuple[Storage, str]:
        """The store of a URI. With a filesystem object, what has no scheme is a path in that.

        Raises:
            StorageError: The URI makes no sense, or the object cannot be read.
        """
        return resolve_uri(uri, None if "://" in uri else self._filesystem)

    def run(self) -> tuple[Storage, str]:
        """The store and the run directory in it."""
        return self._run

    @cached_property
    def _run(self) -> tuple[Storage, str]:
        # A scheme beside an object is refused by the storage package, which says what to write.
        storage, base = resolve_uri(self._config.storage_path, self._filesystem)
        return storage, f"{base.rstrip('/')}/{self._config.experiment_name}"

    @cached_property
    def _filesystem(self) -> Any:
        file = self._config.storage_filesystem
        if file is None:
            return None
        try:
            # Written by the process that started this agent, for it alone: not a file from elsewhere.
            return pickle.loads(file.read_bytes())
        except Exception as e:
            raise StorageError(
                f"the filesystem object of this run cannot be read from {c.STORAGE_FILESYSTEM}={file}"
                f" ({type(e).__name__}: {e}): it must survive pickle"
            ) from e
