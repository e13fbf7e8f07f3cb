"""Which pods are deleted: when the job is finished, and of attempts that are over?"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

from paceline_operator.policies.observed import PodSeen

# Pods that ended by themselves hold no resources and their logs explain the failure; a few attempts of them are enough.
KEPT_ATTEMPTS = 3
# The kubelet tells that the worker has ended before it calls the pod over. What runs longer is a sidecar.
SETTLES = timedelta(seconds=10)

Policy = Literal["Running", "All", "None"]


def when_finished(policy: Policy, pods: Iterable[PodSeen], now: datetime) -> tuple[PodSeen, ...]:
    """Return the pods of a finished job that go."""
    if policy == "None":
        return ()
    return tuple(pod for pod in pods if not pod.deleting and (policy == "All" or _holds_on(pod, now)))


def look_again(policy: Policy, pods: Iterable[PodSeen], now: datetime) -> timedelta | None:
    """Return when a pod of a finished job may have to go after all; None: never."""
    if policy != "Running":
        return None
    ends = [pod.finished + SETTLES - now for pod in pods if pod.finished and not pod.over and _settles(pod, now)]
    return min(ends, default=None)


def of_past_attempts(pods: Iterable[PodSeen], attempt: int, now: datetime) -> tuple[PodSeen, ...]:
    """Return the pods of attempts before `attempt` that go."""
    return tuple(
        pod
        for pod in pods
        if pod.attempt < attempt
        and not pod.deleting
        and (_holds_on(pod, now) or (pod.over and pod.attempt < attempt - KEPT_ATTEMPTS))
    )


def _holds_on(pod: PodSeen, now: datetime) -> bool:
    """Whether some container of it runs, and not merely for another moment."""
    return not pod.over and not _settles(pod, now)


def _settles(pod: PodSeen, now: datetime) -> bool:
    # Both ways: the node's clock may be ahead of ours.
    return pod.exit_code is not None and pod.finished is not None and abs(now - pod.finished) < SETTLES
