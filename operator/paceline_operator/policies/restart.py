"""An attempt failed: does the whole group start again, or does the job fail?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from paceline.api import FailurePolicy, FailureRecord, reasons
from paceline.policy import restart as shared
from paceline.policy.backoff import PastFailure
from paceline_operator.policies.failure import Failure


@dataclass(frozen=True, slots=True)
class RestartGroup:
    """All pods are made anew as the next attempt."""

    after: timedelta


@dataclass(frozen=True, slots=True)
class FailJob:
    """The job is over."""

    reason: str
    message: str


def decide(
    failure: Failure, history: Sequence[FailureRecord], *, restarts: int, policy: FailurePolicy
) -> RestartGroup | FailJob:
    """Decide what follows a failure.

    Args:
        failure: The first failure of the attempt.
        history: Attempts that ended early, this one last.
        restarts: Restarts so far.
        policy: What the job allows.
    """
    if failure.final:
        return FailJob(
            failure.cause, f"{failure.sentence}; no restart can mend that: correct the cause and make a new job"
        )
    past = [PastFailure(record.time.timestamp(), record.resumed_from, record.lost_steps) for record in history]
    decision = shared.decide(
        past,
        restarts=restarts,
        max_restarts=policy.max_restarts,
        initial_s=policy.backoff_seconds.initial,
        max_s=policy.backoff_seconds.max,
    )
    if isinstance(decision, shared.Restart):
        return RestartGroup(timedelta(seconds=decision.after_s))
    spent = (
        f"all {policy.max_restarts} restarts of failurePolicy.maxRestarts are spent"
        if policy.max_restarts
        else ("failurePolicy.maxRestarts is 0")
    )
    return FailJob(reasons.MAX_RESTARTS_REACHED, f"{failure.sentence}; {spent}")
