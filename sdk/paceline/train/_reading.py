"""Bringing a checkpoint's files here, checked against its commit."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paceline import _contract as c
from paceline.agent.commits import Commit, read_commit
from paceline.storage import StorageNotFoundError, retry, transfer
from paceline.train._copies import shared_copy
from paceline.train._location import Location

PATIENCE_S = 120.0  # a person or a script waits: shorter than an agent, which holds what cannot be made again


def download(location: Location, target: Path, *, commit: Commit | None = None) -> None:
    """Bring every file of a checkpoint into `target`.

    Args:
        commit: None: it is read; a directory without one is taken as it is.
    Raises:
        StorageNotFoundError: There is nothing, or a file of the commit is missing.
        StorageError: The store failed, or a file is damaged: the message names it.
    """
    found = commit or _commit(location)
    try:
        transfer.download_directory(
            location.storage,
            location.path,
            target,
            wanted=lambda name: name != c.COMMIT_FILE,
            expected=found.lasting_files if found else None,
            patience_s=PATIENCE_S,
        )
    except StorageNotFoundError as e:
        raise StorageNotFoundError(f"no checkpoint at {location.uri}: {e}" if found is None else str(e)) from e


@contextlib.contextmanager
def shared_directory(location: Location) -> Iterator[Path]:
    """A copy that processes of this machine share while they use it."""
    commit = _commit(location)
    name = json.dumps([location.uri, _identity(location.given), commit.to_json() if commit else None])
    with shared_copy(name, lambda target: download(location, target, commit=commit)) as directory:
        yield directory


def _commit(location: Location) -> Commit | None:
    return retry.call(lambda: read_commit(location.storage, location.path), patience_s=PATIENCE_S)


def _identity(filesystem: Any) -> str:
    """Equal for equal filesystem objects of several processes; an object that cannot say so shares with nobody."""
    if filesystem is None:
        return ""
    try:
        return hashlib.sha256(pickle.dumps(filesystem)).hexdigest()
    except Exception:
        return uuid.uuid4().hex
