"""Which pods' logs to read: those of the newest attempt, and after a restart those of the next one."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from paceline.api import names
from paceline.client.connection import Object

_RANK = re.compile(rb"^\[rank (\d+)\] ")
_STAMPED = re.compile(rb"^(\S+Z) (.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user wants to read.

    Attributes:
        indexes: Pods by their place in the attempt; None: all.
        attempt: This attempt alone; None: the newest, and those that follow it.
    """

    indexes: frozenset[int] | None
    attempt: int | None = None


def wanted(*, rank: int | None, every: bool, attempt: int | None, per_pod: int) -> Wanted:
    """Return the pods that hold what was asked for; without a wish the pod of rank 0."""
    if every:
        return Wanted(None, attempt)
    return Wanted(frozenset({(rank or 0) // per_pod}), attempt)


def chosen(pods: Sequence[Object], want: Wanted) -> list[Object]:
    """Return the pods to read now, of one attempt."""
    newest = max((_label(pod, names.LABEL_ATTEMPT) for pod in pods), default=0)
    attempt = newest if want.attempt is None else want.attempt
    return [
        pod
        for pod in pods
        if _label(pod, names.LABEL_ATTEMPT) == attempt
        and (want.indexes is None or _label(pod, names.LABEL_INDEX) in want.indexes)
    ]


def readable(pods: Sequence[Object], attached: Collection[str] = ()) -> list[str]:
    """Return the names of the pods whose worker has started and that are not read yet."""
    return [name for pod in pods if (name := pod["metadata"]["name"]) not in attached and _started(pod)]


def silent(pods: Sequence[Object]) -> list[str]:
    """Return a sentence for each pod that has written nothing, since its worker has not started."""
    return [f"{pod['metadata']['name']} has not started: {pod_state(pod)}" for pod in pods if not _started(pod)]


def running(pod: Object | None) -> bool:
    """Tell whether a pod's worker may still write."""
    return pod is not None and "running" in _worker(pod).get("state", {})


def of_rank(line: bytes, rank: int) -> bool:
    """Tell whether a line of a pod is of this rank: no other rank of the pod wrote it."""
    told = _RANK.match(line)
    return told is None or int(told[1]) == rank


def unstamp(line: bytes) -> tuple[str, bytes]:
    """Split a line of `timestamps=true` into its time and the text."""
    match = _STAMPED.match(line)
    return (match[1].decode(), match[2]) if match else ("", line)


def pod_state(pod: Object) -> str:
    """Return what a pod does, in the words of `kubectl get pods` where it has some."""
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind, []):
            state = container.get("state", {})
            if "waiting" in state and state["waiting"].get("reason") not in (None, "PodInitializing"):
                return str(state["waiting"]["reason"])
            if "terminated" in state and (code := state["terminated"].get("exitCode")):
                return f"{state['terminated'].get('reason') or 'Error'} (exit code {code})"
    if status.get("reason"):
        return str(status["reason"])
    unscheduled = [c for c in status.get("conditions", []) if c["type"] == "PodScheduled" and c["status"] == "False"]
    return str(unscheduled[0].get("reason", "Pending")) if unscheduled else str(status.get("phase", "Unknown"))


def _started(pod: Object) -> bool:
    state = _worker(pod).get("state", {})
    return "running" in state or "terminated" in state


def _worker(pod: Object) -> Object:
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return next((status for status in statuses if status["name"] == names.WORKER_CONTAINER), {})


def _label(pod: Object, label: str) -> int:
    return int(pod["metadata"].get("labels", {}).get(label, 0))
