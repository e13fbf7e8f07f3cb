"""Does the training hang? Pure: counts of reports and times in, a failure out.

A script that reports seldom must not be taken for one that hangs, so the limit grows with what the run has shown: no
process is given up before it has been silent for three times as long as any has ever been between two reports.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from paceline import _contract as c
from paceline.agent.beat import RankState
from paceline.agent.failure import Failure
from paceline.agent.holdups import STOPPED, WORDS

_TIMES_LONGEST = 3.0


@dataclass(slots=True)
class _Rank:
    reports: int
    since: float  # when the count became that
    held: str = ""  # what holds it up; see holdups.py


class StallWatch:
    """Of one attempt. Times are those of one monotonic clock, in seconds."""

    def __init__(self, timeout_s: float) -> None:
        """Begin.

        Args:
            timeout_s: Silence that is allowed in any case; 0: nothing is ever called stalled.
        """
        self._timeout_s = timeout_s
        self._ranks: dict[int, _Rank] = {}
        self._longest_s = 0.0
        self._held_since: float | None = None

    def seen(self, ranks: Iterable[RankState], now: float) -> None:
        """What the pods have told last. A process that has ended is silent by right."""
        for rank in ranks:
            if rank.ended:
                self._ranks.pop(rank.rank, None)
                continue
            known = self._ranks.setdefault(rank.rank, _Rank(0, now))
            known.held = rank.held
            if rank.reports > known.reports:
                self._longest_s = max(self._longest_s, now - known.since)
                known.reports, known.since = rank.reports, now

    def hold(self, now: float, *, held: bool) -> None:
        """While the store has work, `report()` may hold processes: that time does not count."""
        if self._held_since is not None:
            for rank in self._ranks.values():
                rank.since = min(now, rank.since + now - self._held_since)
        self._held_since = now if held else None

    def limit_s(self) -> float:
        """Silence that is allowed now."""
        return max(self._timeout_s, _TIMES_LONGEST * self._longest_s)

    def stalled(self, now: float) -> Failure | None:
        """The failure, once a process that has reported before is silent for too long."""
        reporting = [rank for rank in self._ranks.values() if rank.reports]
        if not self._timeout_s or not reporting:
            return None
        quiet_s = now - min(rank.since for rank in reporting)
        if quiet_s <= self.limit_s():
            return None
        behind, state = self._behind(len(reporting))
        most = max(rank.reports for rank in reporting)
        where = f"{state.reports} reports, others have {most}" if state.reports < most else f"{most} reports, as all"
        return Failure(
            f"no report for {quiet_s:.0f} s (limit {self.limit_s():.0f} s): rank {behind}"
            f" {WORDS.get(state.held, 'is behind')}, with {where}",
            reason=c.REASON_STALLED,
            rank=behind,
            exit_code=c.EXIT_STALLED,
        )

    def _behind(self, reporting: int) -> tuple[int, _Rank]:
        # Who is stopped is the cause, however far it is: all others wait for it in a collective operation.
        if stopped := [(number, rank) for number, rank in self._ranks.items() if rank.held in STOPPED]:
            return min(stopped, key=lambda item: item[0])
        # Where only some ranks report at all, those that never did are not behind: they do not take part.
        all_report = 2 * reporting > len(self._ranks)
        candidates = ((number, rank) for number, rank in self._ranks.items() if all_report or rank.reports)
        return min(candidates, key=lambda item: (item[1].reports, not item[1].held, item[1].since, item[0]))
