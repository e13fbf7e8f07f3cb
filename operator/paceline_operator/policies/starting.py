"""All pods have a node: do their workers start in time, or does the attempt end so that it holds nothing for ever?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from paceline.api import TrainJob, TrainJobStatus, reasons
from paceline_operator.policies.failure import Failure
from paceline_operator.policies.observed import PodSeen
from paceline_operator.policies.problems import Problem


@dataclass(frozen=True, slots=True)
class Within:
    """Not yet, or not at all."""

    look_again: timedelta | None = None
    """When to ask next; None: there is nothing to wait for."""


@dataclass(frozen=True, slots=True)
class Ask:
    """The time is over, and nobody has asked yet for the events that may tell why."""

    pod: str


def decide(
    job: TrainJob,
    status: TrainJobStatus,
    current: Sequence[PodSeen],
    problem: Problem | None,
    asked: Collection[str],
    now: datetime,
) -> Within | Ask | Failure:
    """Compare the time since the last pod got its node with `startTimeoutSeconds`.

    Args:
        job: The job.
        status: Its status: an attempt that ran once has started.
        current: The pods of the attempt.
        problem: What is known to be in the way.
        asked: Pods whose events were read.
        now: UTC.
    """
    limit_s = job.spec.failure_policy.start_timeout_seconds
    idle = [pod for pod in current if not (pod.running or pod.over or pod.exit_code is not None)]
    since = [pod.placed for pod in current if pod.placed]
    whole = sum(bool(pod.node) for pod in current) == job.spec.pods
    if limit_s == 0 or not idle or not whole or not since or status.running_time is not None:
        return Within()
    left = max(since) + timedelta(seconds=limit_s) - now
    if left > timedelta(0):
        return Within(left)
    first = idle[0]
    if problem is None and first.name not in asked:
        # A limit that is shorter than the patience with a pod.
        return Ask(first.name)
    others = f" (nor did {len(idle) - 1} more)" if len(idle) > 1 else ""
    why = problem.message if problem else f"the node tells no reason: kubectl describe node {first.node} tells more"
    return Failure(
        reasons.START_TIMEOUT,
        first.name,
        f"pod {first.name} did not start within failurePolicy.startTimeoutSeconds ({limit_s} s){others}: {why}",
        rank=first.index * job.spec.workers.per_pod,
        node=first.node,
        details=why,
    )
