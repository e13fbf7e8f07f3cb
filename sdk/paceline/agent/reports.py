"""Rank 0's reports: they are the run's results, and a commit carries those of its round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Rounds that are settled are forgotten; this bounds a run that reports metrics alone for long.
_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Report:
    """One report."""

    metrics: Mapping[str, Any]
    step: int
    time: float  # seconds since the epoch
    iteration: int  # counted over the whole run


class Reports:
    """Of this attempt, by round."""

    def __init__(self) -> None:
        self.before = 0  # reports of the run before this attempt
        self.last: Report | None = None
        self._rounds: dict[int, Report] = {}

    def add(self, round_: int, metrics: Mapping[str, Any], step: int, at: float) -> Report:
        """Take one down."""
        self.last = report = Report(metrics, step, at, self.iteration(round_))
        self._rounds[round_] = report
        if len(self._rounds) > _KEPT:
            del self._rounds[next(iter(self._rounds))]
        return report

    def iteration(self, round_: int) -> int:
        """Number of a round among the reports of the whole run, from 1."""
        return self.before + round_ + 1

    def of(self, round_: int) -> Report | None:
        """The report of a round, while it is kept."""
        return self._rounds.get(round_)

    def forget(self, settled: int) -> None:
        """Rounds up to this one need nothing more."""
        for round_ in [n for n in self._rounds if n <= settled]:
            del self._rounds[round_]
