"""A value made once in each process."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from paceline.storage._process import PerProcess
from tests.support.timeouts import LOCAL_S


@pytest.mark.timeout(LOCAL_S)
def test_a_value_may_be_made_of_another_one() -> None:
    inner = PerProcess(lambda: "inner")
    assert PerProcess(lambda: f"{inner.get()} and outer").get() == "inner and outer"


def test_threads_that_come_at_once_get_the_same_one() -> None:
    made: list[object] = []
    start = threading.Barrier(8)
    value = PerProcess(lambda: made.append(object()) or made[-1])  # type: ignore[func-returns-value]
    got: list[object] = []

    def ask() -> None:
        start.wait(LOCAL_S)
        got.append(value.get())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LOCAL_S)
    assert len(made) == 1
    assert got == made * 8


def test_a_child_makes_its_own_though_a_thread_of_the_parent_was_making_one() -> None:
    making, forked = threading.Event(), threading.Event()

    def slowly() -> None:
        making.set()
        forked.wait(LOCAL_S)

    thread = threading.Thread(target=PerProcess(slowly).get)
    thread.start()
    making.wait(LOCAL_S)
    child = os.fork()
    if child == 0:
        signal.alarm(int(LOCAL_S))
        PerProcess(lambda: "made").get()
        os._exit(0)
    forked.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
