"""A thread makes the next items: bounded, with its errors told to the consumer, and gone when the consumer is."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Generator

import pytest

from paceline.data._prefetch import prefetched
from tests.support import timeouts


class Numbers:
    """Counts what was made, and whether it was closed."""

    def __init__(self, count: int, *, fail_at: int | None = None) -> None:
        self.count, self.fail_at = count, fail_at
        self.made = 0
        self.closed = False

    def __call__(self) -> Generator[int, None, None]:
        try:
            for number in range(self.count):
                if number == self.fail_at:
                    raise ValueError("the disk is gone")
                self.made += 1
                yield number
        finally:
            self.closed = True


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "paceline-data"]


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_all_items_come_in_order(ahead: int) -> None:
    numbers = Numbers(50)
    assert list(prefetched(numbers(), ahead)) == list(range(50))
    assert numbers.closed
    assert threads() == []


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_comes_after_what_was_made_before_it(ahead: int) -> None:
    items = prefetched(Numbers(9, fail_at=3)(), ahead)
    assert [next(items), next(items), next(items)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the disk is gone"):
        next(items)
    assert threads() == []


def test_no_more_is_made_than_asked_for() -> None:
    numbers = Numbers(100)
    items = prefetched(numbers(), 2)
    assert next(items) == 0
    deadline = time.monotonic() + timeouts.LOCAL_S
    while numbers.made < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert numbers.made == 4  # one taken, two waiting, one in the thread's hand
    del items
    gc.collect()
    assert numbers.closed
    assert threads() == []


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_loop_that_is_left_early_leaves_no_thread_behind(ahead: int) -> None:
    numbers = Numbers(100)
    for number in prefetched(numbers(), ahead):
        if number == 5:
            break
    assert numbers.closed
    assert threads() == []
