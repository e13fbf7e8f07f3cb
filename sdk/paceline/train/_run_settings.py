"""A `RunConfig` becomes paths, a name, and the environment of the agent. Pure, but for `write_filesystem`."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from paceline import _contract as c
from paceline.train._callbacks import tracking
from paceline.train._checkpoint import Checkpoint
from paceline.train._configs import CheckpointConfig, FailureConfig, RunConfig, SyncConfig, check_storage

DEFAULT_DIRECTORY = "~/paceline_results"


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Where a run lies, and what its agent is told.

    Attributes:
        storage_path: An absolute path or a URI; with `storage_filesystem` a path in that.
        name: The run's directory below it.
        local_directory: Where the run is kept on this machine while it goes on.
        storage_filesystem: The given filesystem object, or None.
        tracking: What `callbacks` are as `spec.tracking`.
    """

    storage_path: str
    name: str
    local_directory: str
    storage_filesystem: Any
    checkpoints: CheckpointConfig
    artifacts: SyncConfig
    failures: FailureConfig
    tracking: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run_path(self) -> str:
        """The run's directory: what `Result.from_path` takes (with `storage_filesystem`)."""
        from paceline.storage import join

        return join(self.storage_path, self.name)

    def environment(
        self, filesystem_file: str | Path | None = None, *, resume_from: Checkpoint | None = None
    ) -> dict[str, str]:
        """The agent's variables that tell of storage, checkpoints and artifacts.

        Args:
            filesystem_file: What `write_filesystem` wrote, where the run has a `storage_filesystem`.
            resume_from: Where the first attempt starts. None: the latest checkpoint of the run, if it has one.
        Raises:
            ValueError: The run has a filesystem and there is no file, or the other way round; or no text names where
                `resume_from` is.
        """
        if (self.storage_filesystem is None) != (filesystem_file is None):
            raise ValueError("filesystem_file belongs to a run with a storage_filesystem, and to no other")
        told = {
            c.STORAGE_PATH: self.storage_path,
            c.EXPERIMENT_NAME: self.name,
            c.CHECKPOINTS: json.dumps(_checkpoints(self.checkpoints)),
        }
        if self.artifacts.sync_artifacts:
            told[c.ARTIFACTS] = json.dumps(_artifacts(self.artifacts))
        if self.tracking:
            told[c.TRACKING] = json.dumps(dict(self.tracking))
        if filesystem_file is not None:
            told[c.STORAGE_FILESYSTEM] = os.fspath(filesystem_file)
        if resume_from is not None:
            told[c.RESUME_FROM] = _named(resume_from, self.storage_filesystem)
        return told


def settings(config: RunConfig, environ: Mapping[str, str], *, prefix: str, now: datetime, token: str) -> RunSettings:
    """Decide name and paths of a run.

    Args:
        environ: Read for PACELINE_STORAGE, PACELINE_LOCAL_CACHE_DIR and HOME.
        prefix, now, token: Make the name, where the config has none: readable, in order of time, and like no other.
    Raises:
        ValueError: PACELINE_STORAGE names no store.
    """
    name = config.name or f"{prefix}-{now:%Y%m%d-%H%M%S}-{token}"
    given = config.storage_path  # checked when the config was made; with a filesystem there is one
    if given is None:
        given = environ.get(c.STORAGE, "").strip() or DEFAULT_DIRECTORY
        check_storage(c.STORAGE, given)
    if config.storage_filesystem is None:
        given = _absolute(given, environ)
    cache = _absolute(environ.get(c.LOCAL_CACHE_DIR, "").strip() or DEFAULT_DIRECTORY, environ)
    return RunSettings(
        storage_path=given,
        name=name,
        local_directory=str(Path(cache, name)),
        storage_filesystem=config.storage_filesystem,
        checkpoints=config.checkpoint_config,
        artifacts=config.sync_config,
        failures=config.failure_config,
        tracking=tracking(tuple(config.callbacks)),
    )


def write_filesystem(filesystem: Any, directory: str | Path) -> Path:
    """Pickle a filesystem object for the agents of a local run. The file may hold keys: only its owner can read it.

    Raises:
        TypeError: The object cannot be pickled.
    """
    try:
        data = pickle.dumps(filesystem)
    except Exception as e:
        raise TypeError(
            f"RunConfig.storage_filesystem, a {type(filesystem).__name__}, cannot be handed to another process"
            f" ({type(e).__name__}: {e}): make it picklable, or give a URI as storage_path"
        ) from e
    path = Path(directory, "storage_filesystem.pickle")
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:  # noqa: PTH123
        f.write(data)
    return path


def _absolute(path: str, environ: Mapping[str, str]) -> str:
    if "://" in path:
        return path
    if path == "~" or path.startswith("~/"):
        home = environ.get("HOME") or str(Path.home())
        path = home + path[1:]
    return str(Path(path).expanduser().absolute())


def _named(checkpoint: Checkpoint, filesystem: Any) -> str:
    """The text by which an agent finds a checkpoint; it takes what has no scheme for a path in the run's filesystem."""
    location = checkpoint._location
    if location.is_local:
        return Path(location.path).as_uri() if filesystem is not None else location.path
    if location.given is None or (filesystem is not None and location.given == filesystem):
        return location.uri
    raise ValueError(
        f"resume_from_checkpoint is {checkpoint!r}: its filesystem object cannot be handed to the workers. Name it by a"
        " URI, or bring it here with to_directory() and give Checkpoint.from_directory(...)"
    )


def _checkpoints(config: CheckpointConfig) -> dict[str, Any]:
    told = {"keep": config.num_to_keep, "scoreAttribute": config.checkpoint_score_attribute}
    if config.checkpoint_score_attribute is not None:
        told["scoreOrder"] = config.checkpoint_score_order
    return {key: value for key, value in told.items() if value is not None}


def _artifacts(config: SyncConfig) -> dict[str, Any]:
    return {
        "sync": True,
        "periodSeconds": config.sync_period,
        "timeoutSeconds": config.sync_timeout,
        "onCheckpoint": config.sync_artifacts_on_checkpoint,
    }
