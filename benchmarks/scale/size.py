"""How much of everything a run measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """A whole run, or a trial."""

    fraction: float
    """Of the pods, jobs and seconds that a whole run has."""
    minutes: float
    """Of the soak."""

    def of(self, whole: int) -> int:
        """Return so much of a whole, at least 2."""
        return max(2, round(whole * self.fraction))
