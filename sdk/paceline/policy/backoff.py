"""A run failed again: how long to wait before it starts once more?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# A run that held out this long between two failures has left the trouble behind, whatever it reported. The kubelet
# forgets its own backoff after the same time.
RESET_AFTER_S = 600.0


@dataclass(frozen=True, slots=True)
class PastFailure:
    """What the history of a run keeps of one failed attempt."""

    at_s: float
    """When it failed, in seconds since the epoch."""
    resumed_from: int | None = None
    """Number of the newest checkpoint at that time; None: there was none."""
    lost_steps: int | None = None
    """Steps made since that checkpoint (since the start, where there was none)."""


def delay_s(failures: Sequence[PastFailure], *, initial_s: float, max_s: float) -> float:
    """Return the seconds to wait after the last of `failures` (oldest first).

    The first failure after progress restarts at once: it costs nothing to try. From the second in a row without
    progress it waits `initial_s`, then twice as long each time, `max_s` at most, so that a crash at start does not
    spend all restarts within a second.
    """
    fruitless = _fruitless(failures)
    if fruitless <= 1:
        return 0.0
    # 2**60 seconds is beyond every max_s; the bound keeps the power small.
    return min(max_s, initial_s * 2.0 ** min(fruitless - 2, 60))


def _fruitless(failures: Sequence[PastFailure]) -> int:
    """Count the last failures in a row, beginning with the first after progress."""
    count = 0
    for index in range(len(failures) - 1, -1, -1):
        count += 1
        if index == 0 or _progressed(failures[index - 1], failures[index]):
            break
    return count


def _progressed(before: PastFailure, after: PastFailure) -> bool:
    if after.at_s - before.at_s > RESET_AFTER_S:
        return True
    if after.resumed_from is not None:
        return before.resumed_from is None or after.resumed_from > before.resumed_from
    return (after.lost_steps or 0) > (before.lost_steps or 0)
