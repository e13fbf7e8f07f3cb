"""A finished job: is it time to delete it?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Keep:
    """Not now."""

    look_again: timedelta | None
    """When to ask next; None: it is kept for good."""


@dataclass(frozen=True, slots=True)
class Delete:
    """The TrainJob goes; what is in storage stays."""


def decide(ttl_s: int | None, completed: datetime | None, now: datetime) -> Keep | Delete:
    """Compare the time since the end with `ttlSecondsAfterFinished`."""
    if ttl_s is None or completed is None:
        return Keep(None)
    left = completed + timedelta(seconds=ttl_s) - now
    return Keep(left) if left > timedelta(0) else Delete()
