"""Which rank holds the others up? Pure: times of reports in, a straggler out.

In a synchronous group all ranks report at the pace of the slowest, so how many reports each has made tells nothing.
What tells is who comes last: the one who waits for nobody. The n-th reports of all ranks are round n.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, median_low

_WINDOW = 10  # rounds
_LEAST = 5  # rounds, in which a rank comes last before it is called a straggler
_OPEN = 64  # rounds that not all ranks have reached; a rank that is farther behind is compared no more
# Of the rounds in the window a straggler comes last in so many: of two equal ranks one is last in 8 of 10 rounds once
# in eighteen times, and then not by a fifth of the round.
_BEGIN_SHARE, _END_SHARE = 0.8, 0.4
# And by so much: what costs a fifth of the speed is worth a look, and below a second it is the noise of the beats.
_LATE_S, _LATE_SHARE = 1.0, 0.2
_END_OF_LIMIT = 0.5


@dataclass(frozen=True, slots=True)
class Straggler:
    """A rank that comes last, and how long after the median rank (seconds)."""

    rank: int
    behind_s: float


@dataclass(frozen=True, slots=True)
class _Round:
    number: int
    middle: float  # when the median rank reported
    late: dict[int, float]  # rank -> seconds after that
    last: int  # rank


class StragglerWatch:
    """Of one attempt."""

    def __init__(self, ranks: Iterable[int]) -> None:
        """All of these are waited for, until they have ended."""
        self._live = set(ranks)
        self._open: dict[int, dict[int, float]] = {}
        self._rounds: deque[_Round] = deque(maxlen=_WINDOW)
        self._current: int | None = None

    def ended(self, rank: int) -> None:
        """A rank will not report again."""
        self._live.discard(rank)
        if rank == self._current:
            self._current = None

    def seen(self, rank: int, number: int, at: float) -> None:
        """A report. Repeating it changes nothing but for the better: the way here can only have delayed it.

        Args:
            number: Of the report, among those of the rank.
            at: On the clock of the one who listens, in seconds.
        """
        if self._rounds and number <= self._rounds[-1].number:
            return
        times = self._open.setdefault(number, {})
        times[rank] = min(at, times.get(rank, at))
        if len(self._live) > 1 and len(times) >= len(self._live) and times.keys() >= self._live:
            self._close(number)
        elif len(self._open) > _OPEN:
            del self._open[min(self._open)]

    @property
    def straggler(self) -> Straggler | None:
        """The rank that is behind now."""
        return None if self._current is None else Straggler(self._current, round(self._behind(self._current), 1))

    def _close(self, number: int) -> None:
        times = self._open[number]
        middle = median_low(times.values())
        late = {rank: at - middle for rank, at in times.items()}
        self._rounds.append(_Round(number, middle, late, max(late, key=late.__getitem__)))
        self._open = {n: known for n, known in self._open.items() if n > number}
        if len(self._rounds) > 1:
            self._judge()

    def _judge(self) -> None:
        limit_s = max(_LATE_S, _LATE_SHARE * self._length_s())
        last = Counter(round_.last for round_ in self._rounds)
        if self._current is not None:
            keeps = last[self._current] >= _END_SHARE * len(self._rounds)
            if not keeps or self._behind(self._current) < _END_OF_LIMIT * limit_s:
                self._current = None
        if self._current is None:
            rank, times = last.most_common(1)[0]
            if times >= max(_LEAST, _BEGIN_SHARE * len(self._rounds)) and self._behind(rank) > limit_s:
                self._current = rank

    def _behind(self, rank: int) -> float:
        return median(round_.late.get(rank, 0.0) for round_ in self._rounds)

    def _length_s(self) -> float:
        # Of a sample of the rounds: what lies between two of them is many rounds.
        rounds = list(self._rounds)
        return median(
            (later.middle - before.middle) / (later.number - before.number) for before, later in pairwise(rounds)
        )
