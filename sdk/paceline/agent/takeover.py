"""The lead's first work, blocking: prove that the store works, take the run directory over, find where to resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from paceline.agent import attempts, log, resume
from paceline.agent.clock import rfc3339
from paceline.agent.commits import Checkpoints, Commit
from paceline.agent.config import AgentConfig
from paceline.agent.errors import InvalidConfigError, StorageFailedError
from paceline.agent.runfiles import RunFiles
from paceline.agent.stores import Stores
from paceline.storage import Storage, StorageError, retry

T = TypeVar("T")
_PATIENCE_S = 30.0  # a store that is not reached at the start is told soon


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """`<storage path>/<experiment name>`, owned by this attempt."""

    storage: Storage
    path: str  # in the store
    entry: attempts.Entry  # this attempt in the log of attempts
    checkpoints: Checkpoints


@dataclass(frozen=True, slots=True)
class TakenOver:
    """Where the attempt starts."""

    directory: RunDirectory | None = None  # None: nothing is stored
    commits: tuple[Commit, ...] = ()  # that this run continues, in order
    resumed: Commit | None = None
    iteration: int = 0  # reports of the run before this attempt


def take_over(config: AgentConfig, stores: Stores, token: str, files: RunFiles) -> TakenOver:
    """Own the run directory from here on; the run's earlier files are fetched into `files`.

    Raises:
        InvalidConfigError: The storage path or `resumeFrom` makes no sense.
        StorageFailedError: The store refused, or was not reached.
        FencedError: A newer attempt has begun.
    """
    try:
        if not config.storage_path:
            return TakenOver(resumed=_given(config, stores))
        directory = _own(config, stores, token)
        everything = _patiently(directory.checkpoints.recover)
        _patiently(lambda: directory.checkpoints.sweep([commit.index for commit in everything]))
        _patiently(lambda: files.fetch(directory.storage, directory.path))
        commits = resume.own(everything, config.resume_from, config.run_id)
        if commits:
            return TakenOver(directory, tuple(commits), commits[-1], commits[-1].iteration)
        return TakenOver(directory, resumed=_given(config, stores))
    except StorageError as e:
        raise StorageFailedError(str(e)) from e


def _own(config: AgentConfig, stores: Stores, token: str) -> RunDirectory:
    try:
        storage, run = stores.run()
    except StorageError as e:
        raise InvalidConfigError(f"storage path: {e}") from e
    _patiently(lambda: storage.check(run))
    now = rfc3339(time.time())
    # Where the answer was lost it begins once more, and the later entry is its own.
    entry = _patiently(
        lambda: attempts.begin(storage, run, run_id=config.run_id, attempt=config.attempt, token=token, time=now)
    )
    return RunDirectory(storage, run, entry, Checkpoints(storage, run, entry))


def _given(config: AgentConfig, stores: Stores) -> Commit | None:
    if config.resume_from in ("", "none"):
        return None
    return _patiently(lambda: resume.given(config.resume_from, stores))


def _patiently(action: Callable[[], T]) -> T:
    """Each step is one that can be done twice: a store that comes back within seconds costs no restart."""
    return retry.call(action, patience_s=_PATIENCE_S, on_retry=log.retrying("storage"))
