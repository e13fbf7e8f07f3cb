"""An attempt failed: does the run start again, or is it over?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paceline.policy import backoff
from paceline.policy.backoff import PastFailure

UNBOUNDED = -1


@dataclass(frozen=True, slots=True)
class Restart:
    """All workers start again from the latest checkpoint."""

    after_s: float
    """Seconds to wait first."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The restarts are spent."""


def decide(
    failures: Sequence[PastFailure], *, restarts: int, max_restarts: int, initial_s: float, max_s: float
) -> Restart | GiveUp:
    """Decide what follows the last of `failures`.

    Args:
        failures: Failed attempts, oldest first, the one in question last.
        restarts: Restarts spent so far, without the one in question.
        max_restarts: Restarts allowed; -1 without bound.
        initial_s: Seconds before the second restart in a row without progress.
        max_s: Seconds before a restart at most.
    """
    if max_restarts != UNBOUNDED and restarts >= max_restarts:
        return GiveUp()
    return Restart(backoff.delay_s(failures, initial_s=initial_s, max_s=max_s))
