"""An attempt failed: does the run start again, or is it over?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from paceline.policy import backoff
from paceline.policy.backoff import PastFailure

UNBOUNDED = -1

Account = Literal["restart", "preemption", "uncounted"]
"""What a restart is counted as: a failure of the run itself, a machine that was taken from it, or nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the user allows."""

    restarts: int
    """-1: without bound."""
    preemptions: int
    """-1: without bound."""
    initial_s: float
    """Seconds before the second restart in a row without progress."""
    max_s: float
    """Seconds before a restart at most."""

    def of(self, account: Account) -> int:
        """How many restarts of this account there may be."""
        return {"restart": self.restarts, "preemption": self.preemptions, "uncounted": UNBOUNDED}[account]


@dataclass(frozen=True, slots=True)
class Restart:
    """All workers start again from the latest checkpoint."""

    after_s: float
    """Seconds to wait first."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The restarts of this account are spent."""


def decide(failures: Sequence[PastFailure], *, account: Account, spent: int, limits: Limits) -> Restart | GiveUp:
    """Decide what follows the last of `failures`.

    Args:
        failures: Failed attempts, oldest first, the one in question last, whatever they were counted as.
        account: What a restart would be counted as.
        spent: Restarts of this account so far, without the one in question.
        limits: What is allowed.
    """
    allowed = limits.of(account)
    if allowed != UNBOUNDED and spent >= allowed:
        return GiveUp()
    return Restart(backoff.delay_s(failures, initial_s=limits.initial_s, max_s=limits.max_s))
