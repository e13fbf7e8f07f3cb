"""Which pods are deleted: when the job is finished, and of attempts that are over?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from paceline_operator.policies.observed import PodSeen

# Pods that ended by themselves hold no resources and their logs explain the failure; a few attempts of them are enough.
KEPT_ATTEMPTS = 3


def when_finished(policy: Literal["Running", "All", "None"], pods: Iterable[PodSeen]) -> tuple[PodSeen, ...]:
    """Return the pods of a finished job that go."""
    if policy == "None":
        return ()
    return tuple(pod for pod in pods if not pod.deleting and (policy == "All" or not pod.over))


def of_past_attempts(pods: Iterable[PodSeen], attempt: int) -> tuple[PodSeen, ...]:
    """Return the pods of attempts before `attempt` that go."""
    return tuple(
        pod
        for pod in pods
        if pod.attempt < attempt and not pod.deleting and (not pod.over or pod.attempt < attempt - KEPT_ATTEMPTS)
    )
