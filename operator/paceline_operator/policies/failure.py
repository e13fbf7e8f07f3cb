"""An attempt broke: which worker failed first, and why? The others fail because of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from paceline.api import WorkerError, reasons
from paceline_operator import contract
from paceline_operator.policies import reports
from paceline_operator.policies.observed import AgentReport, Observed, PodSeen, WorkerFailure

FINAL = {
    contract.AGENT_STORAGE_ERROR: reasons.STORAGE_ERROR,
    contract.AGENT_INVALID_CONFIG: reasons.INVALID_CONFIG,
    contract.AGENT_COMMAND_NOT_STARTED: reasons.INVALID_CONFIG,
    contract.AGENT_MISSING_CREDENTIALS: reasons.MISSING_CREDENTIALS,
}
SEEN_FROM_OUTSIDE = {
    contract.AGENT_STALLED: reasons.STALLED,
    contract.AGENT_LOST: reasons.POD_UNREACHABLE,
    contract.AGENT_LEAD_LOST: reasons.POD_UNREACHABLE,
}
OOM = "OOMKilled"
LOST_BY = {"DeletionByTaintManager", "DeletionByPodGC"}
PREEMPTED_BY = "PreemptionByScheduler"
LOST_REASONS = {"NodeLost", "NodeShutdown", "Terminated"}
# What a container's end is called where nobody saw it: by containerd that comes back after a restart of the node and
# finds no process (exit code 255), and by the kubelet that finds no container (137). The codes mean nothing.
LOST_CONTAINER = {"Unknown", "ContainerStatusUnknown"}
MAX_LINES = 12
SIGNAL_BASE = 128
SIGNALS = 64


@dataclass(frozen=True, slots=True)
class Failure:
    """The first failure of an attempt."""

    cause: str
    pod: str
    sentence: str
    """What was seen, in one sentence without a full stop."""
    rank: int | None = None
    node: str | None = None
    exit_code: int | None = None
    details: str = ""
    """Error or last lines of the output."""
    at: datetime | None = None
    final: bool = False
    """No restart can mend it."""
    error: WorkerError | None = None


def first(seen: Observed, job: str, attempt: int, pods: int, per_pod: int) -> Failure | None:
    """Return the failure that ended the attempt, None while it is whole.

    Args:
        seen: The snapshot.
        job: Name of the job.
        attempt: The current attempt.
        pods: How many pods it has when whole.
        per_pod: Workers in a pod: gives the rank where no agent names it.
    """
    current = seen.of(attempt)
    names = {pod.index: pod for pod in current}
    found = [_of_pod(pod, names, per_pod) for pod in current if pod.failed]
    going = next((pod for pod in current if pod.deleting and not pod.succeeded and not pod.failed), None)
    # A worker that was stopped from outside failed as a consequence, whenever its clock says it ended.
    best = min(found, key=_order, default=None)
    if best is not None and not (going is not None and _order(best)[:2] == (True, True)):
        return best[1]
    if going is not None:
        return _deleted(going, per_pod)
    if seen.complete and len(current) < pods:
        there = {pod.index for pod in current}
        index = next(index for index in range(pods) if index not in there)
        name = contract.pod_name(job, attempt, index)
        return Failure(reasons.POD_DELETED, name, f"pod {name} is gone", rank=index * per_pod)
    return None


def _order(found: tuple[bool, Failure]) -> tuple[Any, ...]:
    """The first in time; of those that tell the same failure the one that knows most of it.

    One pod that is told to stop takes the whole group along: of those that were stopped, the one that was taken from
    the job is the cause, and the others ended with it.
    """
    consequence, failure = found
    with_another = consequence and failure.cause == reasons.POD_FAILED
    return consequence, with_another, failure.at is None, failure.at, -len(failure.details), failure.pod


def _of_pod(pod: PodSeen, pods: Mapping[int, PodSeen], per_pod: int) -> tuple[bool, Failure]:
    """Return whether it was stopped from outside, and the failure that it tells of."""
    report = reports.read(pod.exit_message) if pod.exit_message else None
    told = report.failure if report and report.failure else WorkerFailure()
    consequence = report is not None and report.outcome == "terminated"
    rank = told.rank if told.rank is not None else pod.index * per_pod
    if told.reason == contract.AGENT_LEAD_LOST:
        rank = 0  # the others tell it
    # All agents tell the failure that ended the attempt, also those of other pods than the failed worker's.
    pod = pods.get(rank // per_pod, pod)
    exit_code = told.exit_code if told.exit_code is not None else None if _lost(pod, told) else pod.exit_code
    cause, final = _cause(pod, told, exit_code, consequence)
    what = _what(pod, told, cause, exit_code)
    return consequence, Failure(
        cause=cause,
        pod=pod.name,
        sentence=f"worker {rank} in pod {pod.name} {what}",
        rank=rank,
        node=pod.node or None,
        exit_code=exit_code,
        details=_details(pod, report, told),
        at=told.at or pod.finished,
        final=final,
        error=WorkerError(
            rank=rank,
            type=told.type or cause,
            message=told.message or _details(pod, report, told) or None,
            traceback=told.traceback,
            exit_code=exit_code,
        ),
    )


def _cause(pod: PodSeen, told: WorkerFailure, exit_code: int | None, consequence: bool) -> tuple[str, bool]:
    if pod.disruption in LOST_BY or pod.reason in LOST_REASONS:
        return reasons.NODE_LOST, False
    if pod.disruption == PREEMPTED_BY:
        return reasons.PREEMPTED, False
    if pod.reason == "Evicted" or pod.disruption:
        return reasons.POD_EVICTED, False
    if pod.deleting:
        return reasons.POD_DELETED, False
    if _lost(pod, told):
        return reasons.NODE_LOST, False
    if OOM in (pod.exit_reason, told.reason):
        return reasons.OOM_KILLED, False
    if told.reason in FINAL:
        return FINAL[told.reason], True
    if told.reason in SEEN_FROM_OUTSIDE:
        return SEEN_FROM_OUTSIDE[told.reason], False
    if exit_code is None or consequence:
        return reasons.POD_FAILED, False
    return reasons.WORKER_FAILED, False


def _lost(pod: PodSeen, told: WorkerFailure) -> bool:
    """Whether the node lost the container. Not where the worker's own end was told: what came after it says nothing."""
    return pod.exit_reason in LOST_CONTAINER and (not told.reason or told.reason in SEEN_FROM_OUTSIDE)


def _what(pod: PodSeen, told: WorkerFailure, cause: str, exit_code: int | None) -> str:
    if cause == reasons.OOM_KILLED:
        return f"exited {exit_code} (out of memory: raise spec.workers.resources.memory)"
    if cause == reasons.STALLED:
        return f"hangs: {told.message}"
    if cause == reasons.POD_UNREACHABLE:
        return f"cannot be reached: {told.message}"
    if cause in reasons.FROM_OUTSIDE:
        return _taken(pod, cause)
    if exit_code is None:
        return f"failed ({pod.reason or 'no reason given'})"
    number = exit_code - SIGNAL_BASE
    signal = f" (signal {number})" if 0 < number <= SIGNALS else ""
    error = f": {': '.join(filter(None, (told.type, told.message)))}" if told.message else ""
    return f"exited {exit_code}{signal}{error}"


def _details(pod: PodSeen, report: AgentReport | None, told: WorkerFailure) -> str:
    if told.type and told.message:
        return f"{told.type}: {told.message}"
    if told.reason == contract.AGENT_STALLED:
        # Who hangs, and then the stacks.
        return "\n".join((told.message, *told.last_lines[-MAX_LINES:]))
    if told.last_lines:
        return "\n".join(told.last_lines[-MAX_LINES:])
    if told.message:
        return told.message
    if report is None and pod.exit_message:
        return "\n".join(pod.exit_message.strip().splitlines()[-MAX_LINES:])
    return pod.message or pod.exit_reason


def _deleted(pod: PodSeen, per_pod: int) -> Failure:
    cause, _ = _cause(pod, WorkerFailure(), None, consequence=True)
    return Failure(
        cause,
        pod.name,
        f"pod {pod.name} {_taken(pod, cause)}",
        rank=pod.index * per_pod,
        node=pod.node or None,
        details=pod.message,
    )


def _taken(pod: PodSeen, cause: str) -> str:
    node = pod.node or "unknown"
    if cause == reasons.NODE_LOST and pod.exit_reason in LOST_CONTAINER and not pod.disruption:
        return f"was lost: node {node} restarted, or lost its container"
    return {
        reasons.NODE_LOST: f"was lost with node {node}",
        reasons.POD_EVICTED: f"was evicted from node {node}",
        reasons.PREEMPTED: f"was preempted on node {node} by a pod of higher priority",
        reasons.POD_DELETED: "was deleted",
    }[cause]
