"""An attempt failed: does the whole group start again, or does the job fail?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from paceline.api import FailurePolicy, FailureRecord, reasons
from paceline.policy import restart as shared
from paceline.policy.backoff import PastFailure
from paceline.policy.restart import Account
from paceline_operator.policies import rules
from paceline_operator.policies.failure import Failure


@dataclass(frozen=True, slots=True)
class RestartGroup:
    """All pods are made anew as the next attempt."""

    after: timedelta
    account: Account = "restart"
    rule: int | None = None
    """Index of the rule that decided."""


@dataclass(frozen=True, slots=True)
class FailJob:
    """The job is over."""

    reason: str
    message: str


def decide(
    failure: Failure, history: Sequence[FailureRecord], *, restarts: int, preemptions: int, policy: FailurePolicy
) -> RestartGroup | FailJob:
    """Decide what follows a failure.

    Args:
        failure: The first failure of the attempt.
        history: Attempts that ended early, this one last.
        restarts: Restarts so far that were counted as such.
        preemptions: Those that were counted as preemptions.
        policy: What the job allows.
    """
    rule = rules.matching(policy.rules, failure.cause, failure.exit_code)
    action = policy.rules[rule].action if rule is not None else None
    if action == "Fail":
        return FailJob(failure.cause, f"{failure.sentence}; failurePolicy.rules[{rule}] ends the job for that")
    if failure.final and action is None:
        return FailJob(
            failure.cause, f"{failure.sentence}; no restart can mend that: correct the cause and make a new job"
        )
    account = _account(failure.cause, action)
    past = [
        PastFailure(record.time.timestamp(), record.resumed_from, record.lost_steps)
        for record in history
        if record.cause not in reasons.UNCOUNTED
    ]
    limits = shared.Limits(
        restarts=policy.max_restarts,
        preemptions=policy.max_preemptions,
        initial_s=policy.backoff_seconds.initial,
        max_s=policy.backoff_seconds.max,
    )
    spent = {"restart": restarts, "preemption": preemptions, "uncounted": 0}[account]
    decision = shared.decide(past, account=account, spent=spent, limits=limits)
    if isinstance(decision, shared.Restart):
        return RestartGroup(timedelta(seconds=decision.after_s), account, rule)
    preempted = account == "preemption"
    field, allowed = ("maxPreemptions", policy.max_preemptions) if preempted else ("maxRestarts", policy.max_restarts)
    said = f"all {allowed} restarts of failurePolicy.{field} are spent" if allowed else f"failurePolicy.{field} is 0"
    reason = reasons.MAX_PREEMPTIONS_REACHED if preempted else reasons.MAX_RESTARTS_REACHED
    return FailJob(reason, f"{failure.sentence}; {said}")


def _account(cause: str, action: str | None) -> Account:
    if action == "RestartUncounted":
        return "uncounted"
    if action is None and cause in reasons.UNCOUNTED:
        return "uncounted"
    return "preemption" if action is None and cause in reasons.PREEMPTIONS else "restart"
