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

# Jobs at once, over all transfers of the process: each holds one connection and a few MiB at most.
JOBS_AT_ONCE = 16
# A store that cannot be reached keeps what it has; there is no point in waiting long to tell it so.
_ABORT_PATIENCE_S = 5.0

OnRetry = Callable[[StorageError, float], None]

_slots = PerProcess(lambda: threading.BoundedSemaphore(JOBS_AT_ONCE))
# Threads beside those of the callers, over all transfers: many callers at once start no crowd.
_idle = PerProcess(lambda: threading.BoundedSemaphore(JOBS_AT_ONCE))


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
    crew = _Crew(tasks, rules)
    try:
        crew.work(recruit=True)
        crew.wait()
    except BaseException as e:  # an interrupt between two jobs, or while the helpers end
        crew.fail(e)
        crew.wait()
    if crew.errors:
        for task in tasks:
            task.abort()
        raise crew.errors[0]


class _Crew:
    """The thread of the caller, which does a single small file alone, and helpers as long as there are any to have."""

    def __init__(self, tasks: Sequence[Task], rules: Rules) -> None:
        self.errors: list[BaseException] = []
        self._rules = rules
        self._lock = threading.Lock()
        self._jobs: Iterator[Callable[[], None]] = (job for task in tasks for job in task.jobs())
        self._next = next(self._jobs, None)
        self._helpers: list[threading.Thread] = []

    def work(self, *, recruit: bool = False) -> None:
        """Do jobs until there are no more, or one has failed."""
        while not self._rules.stopped.is_set() and (job := self._take()) is not None:
            if recruit:
                self._recruit()
            try:
                with _slots.get():
                    if not self._rules.stopped.is_set():
                        job()
            except _StoppedError:
                return
            except BaseException as e:
                self.fail(e)

    def fail(self, error: BaseException) -> None:
        """End everything."""
        self.errors.append(error)
        self._rules.stopped.set()

    def wait(self) -> None:
        """Until no helper works any more."""
        for helper in self._helpers:
            helper.join()

    def _take(self) -> Callable[[], None] | None:
        with self._lock:
            job, self._next = self._next, next(self._jobs, None) if self._next is not None else None
            return job

    def _recruit(self) -> None:
        """As many as there is work for now; asked again after each job, since other transfers end."""
        while self._next is not None and len(self._helpers) < JOBS_AT_ONCE - 1 and _idle.get().acquire(blocking=False):
            helper = threading.Thread(target=self._help, name=f"paceline-transfer-{len(self._helpers)}", daemon=True)
            self._helpers.append(helper)
            helper.start()

    def _help(self) -> None:
        try:
            self.work()
        finally:
            _idle.get().release()


def quietly(action: Callable[[], object]) -> None:
    """For `Task.abort`: try for a few seconds, and let a failure pass, since another one is being told."""
    try:
        retry.call(action, patience_s=_ABORT_PATIENCE_S)
    except (StorageError, OSError):
        pass
