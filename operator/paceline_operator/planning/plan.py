"""What is to be done for one job, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from paceline.api import TrainJobStatus, WorkerCounts
from paceline_operator.policies.observed import PodSeen


@dataclass(frozen=True, slots=True)
class Note:
    """An Event for the user."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Executed in this order: the status goes on record first, then what was decided in its name is done.

    So a crash in between leaves a decision that the next look carries out, never pods that nobody decided on.
    """

    status: TrainJobStatus | None = None
    """Written where it is not None; the rest waits until that has succeeded."""
    waiting: tuple[str, WorkerCounts] | None = None
    """Phase and counts of a status that can wait to be written; None where nothing waits."""
    events: tuple[Note, ...] = ()
    service: bool = False
    """Make the Service."""
    tensorboard: bool = False
    """Make the TensorBoard of the run."""
    attempt: int = 0
    create: tuple[int, ...] = ()
    """Indices of the pods of `attempt` to create."""
    grouped: bool = False
    """The pods to create belong to the PodGroup of `attempt`."""
    make_group: bool = False
    """Make that PodGroup first."""
    delete_groups: tuple[str, ...] = ()
    """Names of PodGroups that no attempt needs any more."""
    delete: tuple[PodSeen, ...] = ()
    delete_service: bool = False
    delete_job: bool = False
    inspect: tuple[str, ...] = ()
    """Pods whose Events may say why they hang."""
    inspect_group: str = ""
    """PodGroup whose condition may say why it finds no nodes."""
    refresh: bool = False
    """The snapshot of the job is older than its pods: read it again and do nothing else."""
    requeue_after: timedelta | None = None
    """When to look again though nothing happens."""

    @property
    def unwritten(self) -> bool:
        """The status on record is out of date, and the write can wait."""
        return self.waiting is not None

    @property
    def idle(self) -> bool:
        """Nothing to do now."""
        deletes = self.delete or self.delete_groups or self.delete_service or self.delete_job
        return not (self.status or self.service or self.tensorboard or self.create or deletes)
