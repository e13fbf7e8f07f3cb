"""Is the job to stop for now, or to go on?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from paceline.api import TrainJobStatus
from paceline.api.reasons import SUSPENDED


@dataclass(frozen=True, slots=True)
class Go:
    """Nothing to do with suspension."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """All pods go; the job waits."""


@dataclass(frozen=True, slots=True)
class Resume:
    """The job goes on from its latest checkpoint, under names that no ending pod still holds."""

    attempt: int
    suspended_s: int
    """Seconds suspended so far, this time included."""


def decide(wanted: bool, status: TrainJobStatus, now: datetime) -> Go | Suspend | Resume:
    """Compare `spec.suspend` with the phase on record."""
    if wanted:
        return Suspend()
    if status.phase != "Suspended":
        return Go()
    since = status.condition(SUSPENDED)
    waited = int((now - since.last_transition_time).total_seconds()) if since and status.start_time else 0
    # Before the first pods no name is taken, and no time has counted.
    attempt = status.attempt + 1 if status.start_time else status.attempt
    return Resume(attempt, status.suspended_seconds + max(0, waited))
