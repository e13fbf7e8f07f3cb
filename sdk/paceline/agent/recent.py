"""When did each rank of a pod report lately? For the lead, which asks who comes last.

No clocks of two machines are compared: a pod tells how long ago a report was, by the difference of two readings of its
own clock. Of ranks that report many times in a second a sample is kept, the same for all of them: every second report,
every fourth, and so on.
"""

from __future__ import annotations

from collections import deque

_KEPT = 16
_SHORTEST_S = 4.0  # that the kept ones span: beats come every 0.5 s, and one may be lost
_GAP_S = 2.0  # between two of them: the reports have become slower


class Recent:
    """Of one rank."""

    def __init__(self) -> None:
        self._stride = 1
        self._kept: deque[tuple[int, float]] = deque(maxlen=_KEPT)

    def add(self, round_: int, at: float) -> None:
        """A report, by its number.

        Args:
            at: Seconds since the epoch, on this machine's clock.
        """
        if self._stride > 1 and self._kept and at - self._kept[-1][1] > _GAP_S:
            self._stride //= 2
        if round_ % self._stride:
            return
        self._kept.append((round_, at))
        if len(self._kept) == _KEPT and at - self._kept[0][1] < _SHORTEST_S:
            self._stride *= 2
            self._kept = deque((kept for kept in self._kept if not kept[0] % self._stride), maxlen=_KEPT)

    def seconds_ago(self, now: float) -> tuple[tuple[int, float], ...]:
        """Number of the report, and how long ago it was."""
        return tuple((round_, round(max(0.0, now - at), 3)) for round_, at in self._kept)
