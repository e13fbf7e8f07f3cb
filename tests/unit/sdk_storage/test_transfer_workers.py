from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from paceline.storage import StorageError
from paceline.storage._transfer_progress import Progress
from paceline.storage._transfer_workers import JOBS_AT_ONCE, Rules, run
from tests.support.timeouts import LOCAL_S


class Job:
    """A task of `parts` jobs that all do the same."""

    def __init__(self, action: Callable[[], None], parts: int = 1) -> None:
        self.action, self.parts, self.aborted = action, parts, 0

    def jobs(self) -> Iterable[Callable[[], None]]:
        return [self.action] * self.parts

    def abort(self) -> None:
        self.aborted += 1


def rules(patience_s: float = 0.0, progress: Progress | None = None) -> Rules:
    return Rules(patience_s, None, progress or Progress())


def test_all_transfers_together_do_so_many_jobs_at_once() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def job() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.002)
        with lock:
            running -= 1

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(run, [Job(job, 40), Job(job, 40)], rules()) for _ in range(4)]:
            done.result()
    assert 1 < most <= JOBS_AT_ONCE


def test_a_single_job_runs_in_the_thread_of_the_caller() -> None:
    seen: list[int] = []
    run([Job(lambda: seen.append(threading.get_ident()))], rules())
    assert seen == [threading.get_ident()]
    run([], rules())


def test_the_first_failure_ends_the_others_and_everything_is_aborted() -> None:
    failing = threading.Event()
    count: list[int] = []

    def fail() -> None:
        failing.set()
        raise StorageError("refused")

    def other() -> None:
        failing.wait(LOCAL_S)
        count.append(1)

    tasks = [Job(fail), Job(other, 1000)]
    with pytest.raises(StorageError, match="refused"):
        run(tasks, rules())
    assert len(count) < 2 * JOBS_AT_ONCE
    assert [task.aborted for task in tasks] == [1, 1]


def test_a_job_that_waits_for_its_next_try_is_ended_by_anothers_failure() -> None:
    waiting, one = threading.Event(), rules(patience_s=3600)

    def throttled() -> None:
        def ask() -> None:
            waiting.set()
            raise StorageError("SlowDown", retryable=True)

        one.again(ask)

    def fail() -> None:
        waiting.wait(LOCAL_S)
        raise StorageError("refused for good")

    with pytest.raises(StorageError, match="refused for good"):
        run([Job(throttled), Job(fail)], one)


def test_retries_are_counted_and_told() -> None:
    progress, told = Progress(), []
    tries = iter([True, True, False])

    def ask() -> str:
        if next(tries):
            raise StorageError("SlowDown", retryable=True)
        return "done"

    assert Rules(60.0, lambda e, wait_s: told.append(str(e)), progress).again(ask) == "done"
    assert (progress.retries, told) == (2, ["SlowDown", "SlowDown"])


def test_an_interrupt_stops_the_transfer_and_aborts_it() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    task = Job(interrupted)
    with pytest.raises(KeyboardInterrupt):
        run([task], rules())
    assert task.aborted == 1


def test_progress_tells_the_average_speed() -> None:
    now = [10.0]
    progress = Progress(clock=lambda: now[0])
    progress.expect(2, 300)
    progress.moved(100)
    progress.moved(100)
    progress.moved(-100)
    progress.finished()
    now[0] = 15.0
    assert (progress.bytes_total, progress.bytes_done, progress.files_total, progress.files_done) == (300, 100, 2, 1)
    assert progress.bytes_per_s == 20.0
