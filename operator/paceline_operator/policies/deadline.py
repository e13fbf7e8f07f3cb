"""Has the job run longer than `activeDeadlineSeconds`? Time spent suspended does not count."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Within:
    """Not yet."""

    look_again: timedelta | None
    """When to ask next; None: there is no deadline, or nothing has started."""


@dataclass(frozen=True, slots=True)
class Exceeded:
    """The job fails."""

    message: str


def decide(limit_s: int | None, started: datetime | None, suspended_s: int, now: datetime) -> Within | Exceeded:
    """Compare the time since the first pods, less the time suspended, with the limit."""
    if limit_s is None or started is None:
        return Within(None)
    left = started + timedelta(seconds=limit_s + suspended_s) - now
    if left > timedelta(0):
        return Within(left)
    return Exceeded(
        f"the job was active for more than activeDeadlineSeconds ({limit_s} s); its latest checkpoint stays in "
        "storage: a new job with the same storage goes on from there"
    )
