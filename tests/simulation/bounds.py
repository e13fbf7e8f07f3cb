"""What holds, and within how many seconds."""

from __future__ import annotations

from typing import TypeAlias

PROMPT_S = 5.0
"""Within which a healthy operator acts on what it sees (a backoff apart)."""
GONE_WITHIN_S = 15.0
"""Pods that are to go are told so within this."""
ROLL_CALL_S = 600.0
"""Once in which an operator compares what it remembers with a list."""
SERVED_WITHIN_S = 110.0
"""That PodGroups are served is seen once a minute, and acted on half a minute later."""

Lasting: TypeAlias = dict[tuple[str, str], float]
"""What is so that may be so only for a time: what, uid, and for how many seconds."""


class BrokenError(AssertionError):
    """An invariant does not hold."""


def hold(holds: bool, why: str) -> None:
    """Raise BrokenError unless it holds."""
    if not holds:
        raise BrokenError(why)
