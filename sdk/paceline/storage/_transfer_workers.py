"""One bound on what all transfers of this process do at once: so many requests, whatever the number and size of files.

A transfer is a list of tasks (files), each of some jobs (a file, or its parts). Threads take the next job as soon as
they are free, so a large file and a thousand small ones go on side by side, and nothing waits inside a thread for
another one's turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from paceline.storage import retry
from paceline.storage._errors import StorageError
from paceline.storage._process import PerProcess
from paceline.storage._transfer_progress import Progress

T = TypeVar("T")

# Jobs at once, over all transfers of the process: each holds one connection and at most `RANGE_BYTES` of memory.
JOBS_AT_ONCE = 16
# A store that cannot be reached keeps what it has; there is no point in waiting long to tell it so.
_ABORT_PATIENCE_S = 5.0

OnRetry = Callable[[StorageError, float], None]

_slots = PerProcess(lambda: threading.BoundedSemaphore(JOBS_AT_ONCE))


class Task(Protocol):
    """One file to move."""

    def jobs(self) -> Iterable[Callable[[], None]]:
        """What has to be done, in any order and at the same time; the last one that ends finishes the file."""
        ...

    def abort(self) -> None:
        """Leave nothing behind; called once no job runs any more, also on a task that was finished or never begun."""
        ...


class _StoppedError(Exception):
    """Another job has failed."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How one transfer treats failures, and whom it tells."""

    patience_s: float
    on_retry: OnRetry | None
    progress: Progress
    stopped: threading.Event = field(default_factory=threading.Event)

    def again(self, action: Callable[[], T]) -> T:
        """Run one request until it succeeds, fails for good, or patience ends.

        Raises:
            StorageError: The last one.
        """
        return retry.call(action, patience_s=self.patience_s, sleep=self._sleep, on_retry=self._told)

    def _sleep(self, wait_s: float) -> None:
        if self.stopped.wait(wait_s):
            raise _StoppedError

    def _told(self, error: StorageError, wait_s: float) -> None:
        self.progress.retried()
        if self.on_retry is not None:
            self.on_retry(error, wait_s)


def run(tasks: Sequence[Task], rules: Rules) -> None:
    """Do all jobs of all tasks; blocks until they are done or the first failure has ended the others.

    Raises:
        BaseException: What the first job that failed raised; every task is aborted then.
    """
    queue = _Queue(tasks)
    errors: list[BaseException] = []

    def work() -> None:
        while not rules.stopped.is_set():
            job = queue.next()
            if job is None:
                return
            try:
                with _slots.get():
                    if not rules.stopped.is_set():
                        job()
            except _StoppedError:
                return
            except BaseException as e:
                errors.append(e)
                rules.stopped.set()
                return

    # The caller's thread works too: a single small file costs no thread.
    helpers = [
        threading.Thread(target=work, name=f"paceline-transfer-{i}", daemon=True) for i in range(queue.threads() - 1)
    ]
    try:
        for helper in helpers:
            helper.start()
        work()
        for helper in helpers:
            helper.join()
    except BaseException as e:  # an interrupt of the caller
        rules.stopped.set()
        errors.insert(0, e)
        for helper in helpers:
            if helper.ident is not None:
                helper.join()
    if errors:
        for task in tasks:
            task.abort()
        raise errors[0]


def quietly(action: Callable[[], object]) -> None:
    """For `Task.abort`: try for a few seconds, and let a failure pass, since another one is being told."""
    try:
        retry.call(action, patience_s=_ABORT_PATIENCE_S)
    except (StorageError, OSError):
        pass


class _Queue:
    def __init__(self, tasks: Sequence[Task]) -> None:
        self._lock = threading.Lock()
        self._jobs: Iterator[Callable[[], None]] = (job for task in tasks for job in task.jobs())
        # As many as could be busy, looked at without making the jobs of a thousand files.
        self._first: list[Callable[[], None]] = []
        for job in self._jobs:
            self._first.append(job)
            if len(self._first) == JOBS_AT_ONCE:
                break
        self._first.reverse()

    def threads(self) -> int:
        return max(1, len(self._first))

    def next(self) -> Callable[[], None] | None:
        with self._lock:
            return self._first.pop() if self._first else next(self._jobs, None)
