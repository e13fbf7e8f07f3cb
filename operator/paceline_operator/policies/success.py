"""Have all workers ended well?

A pod that succeeded and is deleted before the others have finished (by a user, a quota, the garbage collector) has done
its work: it still counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from paceline_operator import contract
from paceline_operator.policies.observed import PodSeen


def decide(current: Sequence[PodSeen], pods: int) -> bool:
    """Tell whether all `pods` pods of the current attempt succeeded."""
    return len(current) == pods and all(pod.succeeded for pod in current)


def gone(current: Sequence[PodSeen], job: str, attempt: int, *, pods: int, recorded: int) -> tuple[PodSeen, ...]:
    """Return the missing pods of a complete attempt where the record proves that all of them had succeeded.

    Args:
        current: The pods that are there.
        job: Name of the job.
        attempt: The current attempt.
        pods: How many it has when whole.
        recorded: Pods of it that the status counts as succeeded. Each of them is there, or was deleted since.
    """
    there = {pod.index for pod in current}
    missing = [index for index in range(pods) if index not in there]
    if len(missing) > recorded - sum(pod.succeeded for pod in current):
        return ()
    return tuple(
        PodSeen(
            name=contract.pod_name(job, attempt, index), uid="", attempt=attempt, index=index,
            phase="Succeeded", node="unknown", deleting=True,
        )
        for index in missing
    )  # fmt: skip
