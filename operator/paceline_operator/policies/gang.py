"""Several pods get their nodes together or not at all: by which way, and what when only some of them got one?

Pods that are placed in part hold what another job needs, which may be placed in part itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum

from paceline.api import FailureRecord, TrainJob, TrainJobSpec, reasons
from paceline_operator import contract
from paceline_operator.policies.failure import Failure
from paceline_operator.policies.observed import PodSeen
from paceline_operator.policies.problems import Problem
from paceline_operator.policies.starting import Within

DEFAULT_SCHEDULERS = ("", "default-scheduler")
# The wait after the first freed set, and after many in a row. It is at least what a scheduler needs to place another
# job, and is reached from a tenth of the timeout, so that a short timeout is not followed by a long wait.
FIRST_S = (2.0, 30.0)
LONGEST_S = 600.0
# After a preemption the place is taken. A scheduler holds none free for a PodGroup that preempts, and a victim that is
# back at once takes it again, to be preempted again.
YIELDS = timedelta(seconds=5)


class Way(Enum):
    """How the pods of an attempt get their nodes together."""

    GROUP = "PodGroup"
    TIMEOUT = "Timeout"
    NONE = "None"
    UNAVAILABLE = "PodGroup is asked for and is not served"


def way(spec: TrainJobSpec, current: Iterable[PodSeen], served: bool) -> Way:
    """Return the way of an attempt.

    Args:
        spec: The job's.
        current: Pods that the attempt has already: the others go the same way, whatever has changed since.
        served: Whether PodGroups can be made in the job's namespace.
    """
    wanted = spec.scheduling.gang
    made = next(iter(current), None)
    if wanted == "None" or spec.pods == 1:
        return Way.NONE
    if made is not None:
        return Way.GROUP if made.group else Way.TIMEOUT
    if wanted == "PodGroup":
        return Way.GROUP if served else Way.UNAVAILABLE
    # Another scheduler may not know PodGroups, and the user's own group needs none of ours.
    pod = spec.pod_template.spec
    scheduler = pod.get("schedulerName", spec.scheduling.scheduler_name)
    ours = scheduler in DEFAULT_SCHEDULERS and "schedulingGroup" not in pod
    return Way.GROUP if wanted == "Auto" and ours and served else Way.TIMEOUT


def unavailable() -> Problem:
    """Return what is in the way of a job that insists on a PodGroup."""
    return Problem(
        "Scheduled",
        reasons.GANG_UNAVAILABLE,
        f'spec.scheduling.gang is "PodGroup", and this cluster serves no {contract.POD_GROUPS} to the operator: switch '
        "on the feature gates GenericWorkload and GangScheduling with that API version (and allow the operator to "
        'create podgroups), and the job starts by itself; or write "Auto" or "Timeout" in a new job',
    )


def past(groups: Iterable[str], job: str, attempt: int) -> tuple[str, ...]:
    """Return the PodGroups of other attempts than the current one: they go."""
    return tuple(sorted(name for name in groups if name != contract.group_name(job, attempt)))


def decide(job: TrainJob, current: Sequence[PodSeen], problem: Problem | None, now: datetime) -> Within | Failure:
    """Free a set that is placed in part for `timeoutSeconds`.

    Whichever way was chosen: where a PodGroup is made for a scheduler that ignores it, this is what helps.
    """
    spec = job.spec
    placed = {pod.index for pod in current if pod.node}
    since = [pod.placed for pod in current if pod.placed]
    if spec.scheduling.gang == "None" or not since or len(placed) == spec.pods:
        return Within()
    left = min(since) + timedelta(seconds=spec.scheduling.timeout_seconds) - now
    if left > timedelta(0):
        return Within(left)
    index = min(set(range(spec.pods)) - placed)
    why = f": {problem.message}" if problem else ", and the scheduler tells no reason"
    return Failure(
        reasons.UNSCHEDULABLE,
        contract.pod_name(job.name, job.status.attempt, index),
        f"{len(placed)} of {spec.pods} pods held a node for scheduling.timeoutSeconds "
        f"({spec.scheduling.timeout_seconds} s) while the others found none, and are freed{why}",
        rank=index * spec.workers.per_pod,
    )


def pause(job: TrainJob, cause: str, after: timedelta, history: Sequence[FailureRecord]) -> timedelta:
    """Return how long the next attempt leaves the nodes to others.

    After a freed set it waits longer each time in a row. That is drawn from uid and attempt: two jobs that block each
    other do not meet again at the same time, and a look that is repeated after a crash draws the same.

    Args:
        job: The job, at the attempt that ended.
        cause: Why it ended.
        after: What it waits for that in any case.
        history: Attempts that ended early, this one last.
    """
    if cause == reasons.PREEMPTED:
        return max(after, YIELDS)
    if cause != reasons.UNSCHEDULABLE:
        return after
    shortest, longest = FIRST_S
    first_s = max(shortest, min(longest, job.spec.scheduling.timeout_seconds / 10))
    in_a_row = history[-1].times or 1
    grown_s = min(LONGEST_S, first_s * 2.0 ** min(in_a_row - 1, 30))
    drawn = hashlib.sha256(f"{job.uid}/{job.status.attempt}".encode()).digest()
    share = int.from_bytes(drawn[:4], "big") / 2**32
    return timedelta(milliseconds=round(1000 * grown_s * (0.5 + share)))


def folded(history: Sequence[FailureRecord], record: FailureRecord) -> list[FailureRecord]:
    """Return the history with one record more; freed sets in a row share one, or they would push out all others."""
    last = history[-1] if history else None
    # A downtime that has ended: in between the job ran.
    in_a_row = last is not None and last.cause == record.cause == reasons.UNSCHEDULABLE
    if last is None or not in_a_row or last.downtime_seconds is not None:
        return [*history, record]
    return [*history[:-1], record.model_copy(update={"times": (last.times or 1) + 1})]
