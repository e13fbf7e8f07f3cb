"""What the cluster showed of one job: values that the decisions read. Times are UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from paceline.api import CheckpointStatus, Progress, TrackingRun, Uploads, WorkerCounts

# Phases that are on record only after all pods of the attempt were there.
COMPLETE = frozenset({"Scheduling", "Starting", "Running"})


@dataclass(frozen=True, slots=True)
class WorkerFailure:
    """A failure as an agent tells it."""

    rank: int | None = None
    exit_code: int | None = None
    type: str | None = None
    message: str = ""
    traceback: str | None = None
    last_lines: tuple[str, ...] = ()
    reason: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Straggler:
    """The rank that holds the others up."""

    rank: int
    behind_s: float


@dataclass(frozen=True, slots=True)
class TrackingProblem:
    """A tracker does not take what is logged; training goes on."""

    kind: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class AgentReport:
    """What an agent says of its attempt: from `/status` while it lives, from the termination message afterwards."""

    outcome: str = ""
    """`succeeded`, `failed`, `terminated`; from a living agent its state."""
    exit_code: int | None = None
    progress: Progress | None = None
    checkpoint: CheckpointStatus | None = None
    best_checkpoint: CheckpointStatus | None = None
    uploads: Uploads | None = None
    resumed_index: int | None = None
    resumed_step: int | None = None
    failure: WorkerFailure | None = None
    straggler: Straggler | None = None
    tracking: tuple[TrackingRun, ...] = ()
    tracking_problem: TrackingProblem | None = None


@dataclass(frozen=True, slots=True)
class PodSeen:
    """The fields of a pod that matter here."""

    name: str
    uid: str
    attempt: int
    index: int
    phase: str = "Pending"
    node: str = ""
    ip: str = ""
    created: datetime | None = None
    deleting: bool = False
    resource_version: int = 0
    reason: str = ""
    """`status.reason`, such as Evicted."""
    message: str = ""
    group: str = ""
    """Name of its PodGroup."""
    placed: datetime | None = None
    """Since when it has a node."""
    unschedulable: str = ""
    """The scheduler's sentence; empty where it has none."""
    disruption: str = ""
    """Reason of the condition DisruptionTarget."""
    waiting_reason: str = ""
    """Of the first container (init containers included) that waits with a reason."""
    waiting_message: str = ""
    running: bool = False
    """The worker container runs."""
    exit_code: int | None = None
    """Of the worker container, or of an init container that failed."""
    exit_reason: str = ""
    exit_message: str = ""
    """The termination message, as it stands."""
    finished: datetime | None = None

    @property
    def succeeded(self) -> bool:
        """The worker ended well, whatever other containers do."""
        return self.phase == "Succeeded" or (self.exit_code == 0 and self.phase != "Failed")

    @property
    def failed(self) -> bool:
        """The worker, or the whole pod, ended with a failure."""
        return not self.succeeded and (self.phase == "Failed" or self.exit_code is not None)

    @property
    def over(self) -> bool:
        """No container runs any more."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server refused an object of the job."""

    name: str
    code: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Observed:
    """One snapshot: pods owned by this very job (by uid), and what the operator remembers of it."""

    pods: tuple[PodSeen, ...] = ()
    report: AgentReport | None = None
    """The lead's newest answer in the current attempt."""
    complete: bool = False
    """All pods of the current attempt were there at some time: one that is missing now is lost."""
    behind: bool = False
    """The pods are shown as they were before the status on record says that all of them are there."""
    service: bool = False
    """Whether the Service exists."""
    pod_groups: bool = False
    """PodGroups are served, and the operator may make them in the job's namespace."""
    groups: tuple[str, ...] = ()
    """Names of the PodGroups that the job is known to have."""
    refusals: tuple[Refusal, ...] = ()
    warnings: Mapping[str, str] = field(default_factory=dict)
    """By pod, the newest Warning Event of one that hangs before its containers start: `<reason>: <message>`. By
    PodGroup, the scheduler's sentence about the group."""
    looked: datetime | None = None
    """When the Events of a pod were last read for these warnings."""
    tensorboard: bool = False
    """Its TensorBoard was made."""
    tensorboard_again: datetime | None = None
    """Refused, it is not to be made before this time."""
    last_write: datetime | None = None
    """When this operator last wrote the status, or first saw the job."""
    changed_since: datetime | None = None
    """Since when the status on record is not what it should be."""
    waiting: tuple[str, WorkerCounts] | None = None
    """Phase and counts that the last look left unwritten."""
    moved_at: datetime | None = None
    """Since when these have been the same."""

    def of(self, attempt: int) -> tuple[PodSeen, ...]:
        """Return the pods of an attempt, by index."""
        return tuple(sorted((p for p in self.pods if p.attempt == attempt), key=lambda p: p.index))
