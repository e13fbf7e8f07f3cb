"""What a run is asked to do: where it is stored, which checkpoints stay, what is synced, how often it starts again.

Every value is checked when the object is made, so that a mistake shows in the line that made it. Nothing here touches a
store: `_run_settings` turns a `RunConfig` into paths and the environment of the agent.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from paceline.train._callbacks import Callback
from paceline.train._keywords import explained

if TYPE_CHECKING:
    from paceline.train._run_settings import RunSettings

_CONTROL = re.compile(r"[\x00-\x1f\x7f/\\]")
_LONGEST_NAME = 128

# Names that scripts for Ray Train use.
_HINTS = {
    "stop": "return from the training function when it is enough; leave it out",
    "verbose": "the console shows reports and failures as they come; leave it out",
    "log_to_file": "what workers print is shown as it comes: send it to a file with `python train.py > log`",
    "progress_reporter": "the console shows reports and failures as they come; leave it out",
    "worker_runtime_env": "workers get the environment of this process; on Kubernetes write Kubernetes(env=...)",
    "local_dir": "write storage_path",
}
_CHECKPOINT_HINTS = {
    "checkpoint_frequency": "the training function decides, by report(metrics, checkpoint=...); leave it out",
    "checkpoint_at_end": "the training function decides, by report(metrics, checkpoint=...); leave it out",
}
_FAILURE_HINTS = {
    "fail_fast": "write max_failures=0",
    "controller_failure_limit": "there is no controller process that could fail; leave it out",
}


@explained(_CHECKPOINT_HINTS)
@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """Which checkpoints are kept.

    Attributes:
        num_to_keep: The best so many stay, and always the latest. None: all.
        checkpoint_score_attribute: Metric by which they are compared; `a/b` is a metric within a dict. A checkpoint
            without it, or with NaN, ranks last. None: the newest count as best.
        checkpoint_score_order: Whether the largest (`max`) or the smallest (`min`) score is best.
    """

    num_to_keep: int | None = None
    checkpoint_score_attribute: str | None = None
    checkpoint_score_order: Literal["max", "min"] = "max"

    def __post_init__(self) -> None:
        if self.num_to_keep is not None:
            _check_integer("CheckpointConfig.num_to_keep", self.num_to_keep)
            if self.num_to_keep < 1:
                raise ValueError(
                    f"CheckpointConfig.num_to_keep is {self.num_to_keep}: keep at least 1 checkpoint (a run resumes"
                    " from the latest), or leave it out to keep all"
                )
        if self.checkpoint_score_attribute is not None:
            check_text("CheckpointConfig.checkpoint_score_attribute", self.checkpoint_score_attribute)
        if self.checkpoint_score_order not in ("max", "min"):
            raise ValueError(
                f"CheckpointConfig.checkpoint_score_order is {self.checkpoint_score_order!r}: use 'max' (the largest"
                " score is best) or 'min'"
            )


@explained()
@dataclass(frozen=True, slots=True)
class SyncConfig:
    """Whether files that workers write into their working directory (artifacts) go to storage.

    Attributes:
        sync_period: Seconds between two looks for new files.
        sync_timeout: Seconds that one sync may take.
        sync_artifacts: False: nothing is synced.
        sync_artifacts_on_checkpoint: Sync with each reported checkpoint too.
    """

    sync_period: float = 300
    sync_timeout: float = 1800
    sync_artifacts: bool = False
    sync_artifacts_on_checkpoint: bool = True

    def __post_init__(self) -> None:
        for name in ("sync_period", "sync_timeout"):
            _check_seconds(f"SyncConfig.{name}", getattr(self, name))
        for name in ("sync_artifacts", "sync_artifacts_on_checkpoint"):
            check_bool(f"SyncConfig.{name}", getattr(self, name))


@explained(_FAILURE_HINTS)
@dataclass(frozen=True, slots=True)
class FailureConfig:
    """What follows a failure of a worker.

    Attributes:
        max_failures: How many times all workers start again from the latest checkpoint. 0: never. -1: without bound.
    """

    max_failures: int = 0

    def __post_init__(self) -> None:
        _check_integer("FailureConfig.max_failures", self.max_failures)
        if self.max_failures < -1:
            raise ValueError(
                f"FailureConfig.max_failures is {self.max_failures}: use 0 for no restart, a number of restarts, or -1"
                " for as many as it takes"
            )


@explained(_HINTS)
@dataclass(frozen=True, slots=True)
class RunConfig:
    """Name and storage of a run; everything it leaves is under `<storage_path>/<name>`.

    Attributes:
        name: The run's directory below `storage_path`; the same name again continues the run. None: a new one is made.
        storage_path: A path, or a URI such as `s3://bucket/prefix`. None: PACELINE_STORAGE, else `~/paceline_results`.
        storage_filesystem: A `pyarrow.fs.FileSystem` or an fsspec filesystem to use instead of a URI; `storage_path` is
            then a path in it, without a scheme.
        failure_config: None: no restart.
        checkpoint_config: None: all checkpoints are kept.
        sync_config: None: no artifacts are synced.
        callbacks: Trackers that the metrics of `report()` are logged to: `paceline.tracking.WandbCallback`,
            `MLflowCallback`, `CometCallback`, `TensorBoardCallback`; one of each at most.
    """

    name: str | None = None
    storage_path: str | None = None
    storage_filesystem: Any = None
    failure_config: FailureConfig = field(default_factory=FailureConfig)
    checkpoint_config: CheckpointConfig = field(default_factory=CheckpointConfig)
    sync_config: SyncConfig = field(default_factory=SyncConfig)
    callbacks: Sequence[Callback] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "callbacks", _callbacks(self.callbacks))
        if self.name is not None:
            check_name("RunConfig.name", self.name)
        for attribute, kind in _PARTS.items():
            given = getattr(self, attribute)
            if given is None:  # written out by scripts that pass None for "the default"
                object.__setattr__(self, attribute, kind())
            elif not isinstance(given, kind):
                raise TypeError(f"RunConfig.{attribute} is a {type(given).__name__}: pass a {kind.__name__}")
        if isinstance(self.storage_path, os.PathLike):
            object.__setattr__(self, "storage_path", os.fspath(self.storage_path))
        self._check_storage()

    def resolve(self, *, prefix: str = "run", environ: Mapping[str, str] | None = None) -> RunSettings:
        """Name, storage and agent settings of a run that starts now; looks at the environment and the clock.

        Args:
            prefix: Begins the name that is made when `name` is None.
            environ: None: this process's.
        Raises:
            ValueError: PACELINE_STORAGE names no store.
        """
        import secrets
        from datetime import datetime, timezone

        from paceline.train._run_settings import settings

        given = os.environ if environ is None else environ
        return settings(self, given, prefix=prefix, now=datetime.now(timezone.utc), token=secrets.token_hex(3))

    def _check_storage(self) -> None:
        path, filesystem = self.storage_path, self.storage_filesystem
        if path is not None:
            check_text("RunConfig.storage_path", path)
            check_storage("RunConfig.storage_path", path, filesystem)
        elif filesystem is not None:
            raise ValueError(
                "RunConfig.storage_filesystem is given without storage_path: name the directory in that filesystem,"
                " such as storage_path='bucket/prefix'"
            )


_PARTS: Mapping[str, type] = {
    "failure_config": FailureConfig,
    "checkpoint_config": CheckpointConfig,
    "sync_config": SyncConfig,
}


def _callbacks(given: object) -> tuple[Callback, ...]:
    if given is None:
        return ()
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise TypeError(f"RunConfig.callbacks is a {type(given).__name__}: pass a list, such as [WandbCallback()]")
    kinds: set[str] = set()
    for callback in given:
        if not isinstance(callback, Callback):
            made = callback.__name__ if isinstance(callback, type) else type(callback).__name__
            raise TypeError(
                f"RunConfig.callbacks has {made}: pass objects such as paceline.tracking.WandbCallback(),"
                " MLflowCallback(), CometCallback() or TensorBoardCallback(); what else follows a report is written in"
                " the training function"
            )
        if callback.kind in kinds:
            raise ValueError(f"RunConfig.callbacks has two of {type(callback).__name__}: a run has one of each tracker")
        kinds.add(callback.kind)
    return tuple(given)


def check_name(what: str, name: object) -> None:
    """The name of a run is one directory.

    Raises:
        TypeError: It is no text.
        ValueError: It cannot be a directory's name in every store.
    """
    check_text(what, name)
    text = str(name)
    if _CONTROL.search(text) or text.startswith(".") or text != text.strip() or len(text.encode()) > _LONGEST_NAME:
        raise ValueError(
            f"{what} is {text[:200]!r}: it becomes one directory below storage_path, so use at most {_LONGEST_NAME}"
            " bytes without '/' and '\\', not beginning with '.'"
        )


def check_storage(what: str, path: str, filesystem: Any = None) -> None:
    """Scheme and query of a storage path are known, and it fits the filesystem. Nothing is asked of the store.

    Raises:
        ValueError: They are not.
    """
    from paceline.storage import StorageError, resolve

    try:
        resolve(path, filesystem)
    except StorageError as e:
        raise ValueError(f"{what}: {e}") from None


def check_text(what: str, value: object) -> None:
    """A text with something in it.

    Raises:
        TypeError, ValueError: It is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} is a {type(value).__name__}: pass a text")
    if not value.strip():
        raise ValueError(f"{what} is empty: leave it out for the default")


def _check_integer(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is {value!r}, a {type(value).__name__}: pass a whole number")


def check_bool(what: str, value: object) -> None:
    """True or False, and nothing that counts as such.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{what} is {value!r}, a {type(value).__name__}: pass True or False")


def _check_seconds(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} is {value!r}, a {type(value).__name__}: pass a number of seconds")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{what} is {value}: pass a number of seconds above 0")
