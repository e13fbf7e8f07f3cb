"""Directories of a run on this machine: where its workers run, and what is gone when it is over."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paceline import _contract as c

_PREFIX = "local-"
_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Scratch:
    """Of one run on this machine.

    Attributes:
        directory: For the task file and the agents; removed at the end.
        work: Where the workers run. It is `artifacts` in the run's directory, as in the store: what they write there
            cannot hide the run's own files.
        lock: Held by who uses `directory`: this process and its agents.
    """

    directory: Path
    work: Path
    lock: int

    def agent(self, attempt: int) -> Path:
        """The agent's own directory in an attempt."""
        return self.directory / f"attempt-{attempt}"

    def message(self, attempt: int) -> Path:
        """Where the agent leaves its termination message."""
        return self.directory / f"end-{attempt}.json"


@contextlib.contextmanager
def make(local_directory: str) -> Iterator[Scratch]:
    """Make the directories of a run, and remove what is not to stay.

    Raises:
        ValueError: They cannot be made; the message names the variable to set.
    """
    run = Path(local_directory)
    state, work = run / c.STATE_DIR, run / c.ARTIFACTS_DIR
    try:
        work.mkdir(parents=True, exist_ok=True)
        state.mkdir(exist_ok=True)
        _sweep(state)
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=state))
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as e:
        raise ValueError(
            f"the run's local directory {run} cannot be used ({e.strerror or e}): set {c.LOCAL_CACHE_DIR} to a"
            " directory that can be written to"
        ) from e
    try:
        _try_lock(lock)
        yield Scratch(directory, work, lock)
    finally:
        os.close(lock)
        shutil.rmtree(directory, ignore_errors=True)
        for empty in (state, work, run):
            with contextlib.suppress(OSError):
                empty.rmdir()


def _sweep(state: Path) -> None:
    """Remove what runs left here that were killed, and their agents with them."""
    for left in state.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(left / _LOCK, os.O_RDWR)
        except OSError:
            continue
        try:
            if _try_lock(lock):
                shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(lock)


def _try_lock(fd: int) -> bool:
    """False: another one holds it, or this file system has no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
