"""Trying a store again: how long to wait, and when to give up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from paceline.storage._errors import StorageError

T = TypeVar("T")

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 15.0


def waits(jitter: Callable[[], float] = random.random) -> Iterator[float]:
    """Seconds between tries: doubling from `FIRST_WAIT_S`, each between half and the whole of its step."""
    step = FIRST_WAIT_S
    while True:
        yield step * (0.5 + jitter() / 2)
        step = min(step * 2, LONGEST_WAIT_S)


def call(
    action: Callable[[], T],
    *,
    patience_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
    on_retry: Callable[[StorageError, float], None] | None = None,
) -> T:
    """Run `action` until it succeeds, fails for good, or `patience_s` has passed since the first try.

    Args:
        on_retry: Told the error and the seconds until the next try.
    Raises:
        StorageError: The last one.
    """
    begun = clock()
    for wait_s in waits():
        try:
            return action()
        except StorageError as e:  # noqa: PERF203
            if not e.retryable or clock() - begun + wait_s > patience_s:
                raise
            if on_retry is not None:
                on_retry(e, wait_s)
            sleep(wait_s)
    raise AssertionError("waits() never ends")
