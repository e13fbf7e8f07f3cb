"""What the operator has seen and done: `status` of a TrainJob."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, computed_field

from paceline.api.base import LastLines, Metrics, PreciseTime, Sentence, StatusModel, Time, Uri, Word
from paceline.api.tracking import MAX_TRACKING, TrackingRun

Phase: TypeAlias = Literal[
    "Pending", "Suspended", "Scheduling", "Starting", "Running", "Restarting", "Succeeded", "Failed"
]
ConditionStatus: TypeAlias = Literal["True", "False", "Unknown"]

FINISHED: frozenset[Phase] = frozenset({"Succeeded", "Failed"})
MAX_HISTORY = 20
MAX_CONDITIONS = 16


def _newest(value: Any) -> Any:
    return value[-MAX_HISTORY:] if isinstance(value, list | tuple) else value


class Condition(StatusModel):
    """One aspect of the job, in the shape that all of Kubernetes uses."""

    type: Annotated[str, Field(min_length=1, max_length=64)]
    """Aspect, such as Running or CheckpointAvailable."""
    status: ConditionStatus
    """True, False or Unknown."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """`metadata.generation` that this was decided for."""
    last_transition_time: Time
    """When `status` last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=64, pattern="^[A-Z][A-Za-z0-9]*$")]
    """Cause in one word; each has a heading in the troubleshooting guide."""
    message: Sentence = ""
    """What was seen, what Paceline did, what to try."""


class WorkerCounts(StatusModel):
    """Workers (processes) of the current attempt; those of a pod count together."""

    desired: Annotated[int, Field(ge=0)] = 0
    """Asked for: `spec.workers.count`."""
    scheduled: Annotated[int, Field(ge=0)] = 0
    """Have a node."""
    running: Annotated[int, Field(ge=0)] = 0
    """Run."""
    succeeded: Annotated[int, Field(ge=0)] = 0
    """Ended well."""
    failed: Annotated[int, Field(ge=0)] = 0
    """Ended with a failure."""

    # mypy does not know a decorator on a property (python/mypy#1362).
    @computed_field  # type: ignore[prop-decorator]
    @property
    def ready(self) -> Annotated[str, Field(max_length=16)]:
        """Running or well ended workers out of those asked for, such as `3/4`: the column of `kubectl get`."""
        return f"{self.running + self.succeeded}/{self.desired}"


class Progress(StatusModel):
    """What the lead agent last told."""

    step: int | None = None
    """Step of the newest report: its metric `step` or `global_step`, else the number of reports of the run."""
    metrics: Metrics = Field(default_factory=dict)
    """Metrics of rank 0's newest report: the plain values."""
    time: Time | None = None
    """When it was reported."""
    slowest_rank: Annotated[int, Field(ge=0)] | None = None
    """The rank that holds the others up (condition Straggling), else the one with the fewest steps."""


class CheckpointStatus(StatusModel):
    """A committed checkpoint: complete and readable."""

    path: Uri
    """Where it is."""
    index: Annotated[int, Field(ge=0)]
    """Its number in the run."""
    step: int | None = None
    """Step at which it was reported."""
    time: Time | None = None
    """When it was committed."""
    metrics: Metrics = Field(default_factory=dict)
    """Metrics reported with it: the plain values."""
    attempt: Annotated[int, Field(ge=0)] | None = None
    """Attempt that made it."""


class Uploads(StatusModel):
    """What of the current attempt waits for the store, as it was when progress was last written."""

    pending_checkpoints: Annotated[int, Field(ge=0)] = 0
    """Checkpoints that were reported and are not committed yet."""
    pending_bytes: Annotated[int, Field(ge=0)] = 0
    """Bytes of them that are not stored yet."""
    wait_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Seconds that workers were held because `checkpoints.maxPending` was reached, over all of them."""


class WorkerError(StatusModel):
    """The failure that ended the job."""

    rank: Annotated[int, Field(ge=0)] | None = None
    """Rank that failed first."""
    type: Word | None = None
    """Type of the exception, or what ended the process."""
    message: Sentence | None = None
    """Message of the exception."""
    traceback: LastLines | None = None
    """End of the traceback."""
    exit_code: int | None = None
    """Exit code of the process; 128 + signal number where a signal ended it."""


class Result(StatusModel):
    """What came out, once the job is finished."""

    path: Uri | None = None
    """Directory of the run in storage."""
    metrics: Metrics = Field(default_factory=dict)
    """Metrics of the last report: the plain values."""
    error: WorkerError | None = None
    """The failure that ended the job; absent when it succeeded."""


class FailureRecord(StatusModel):
    """An attempt that ended early, and what the restart cost."""

    attempt: Annotated[int, Field(ge=0)]
    """The attempt that ended."""
    time: PreciseTime
    """When its end was seen."""
    cause: Word
    """Reason in one word, as in conditions."""
    rank: Annotated[int, Field(ge=0)] | None = None
    """Rank that failed first."""
    pod: Word | None = None
    """Its pod."""
    node: Word | None = None
    """Its node."""
    exit_code: int | None = None
    """Its exit code."""
    message: Sentence = ""
    """Error or last lines of its output."""
    resumed_from: Annotated[int, Field(ge=0)] | None = None
    """Number of the checkpoint that the next attempt resumed from; absent: from the start."""
    lost_steps: Annotated[int, Field(ge=0)] | None = None
    """Steps to do again: those that rank 0 had reported beyond that checkpoint. Absent: nobody could tell."""
    times: Annotated[int, Field(ge=2)] | None = None
    """How many attempts in a row found room for some of their pods only (cause Unschedulable): they share one record,
    which is of the last. Absent: one."""
    downtime_seconds: Annotated[float, Field(ge=0)] | None = None
    """Seconds from the failure until all workers of the next attempt ran."""
    counted_as: Literal["restart", "preemption", "uncounted"] | None = None
    """What the restart after it was counted as: in `status.restarts`, in `status.preemptions` or in neither, by a rule.
    Absent for the failure that ended the job."""


class TrainJobStatus(StatusModel):
    """What the operator has seen and done. Checkpoints are a view of storage, which is the truth."""

    phase: Phase = "Pending"
    """Where the job is. Succeeded and Failed are final."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=MAX_CONDITIONS,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = Field(default_factory=list)
    """Aspects of the job, each with its reason and a message."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """`metadata.generation` that this status was made for."""
    attempt: Annotated[int, Field(ge=0)] = 0
    """Number of the current attempt, from 0: it is in the names of its pods. Grows with each restart and resume."""
    restarts: Annotated[int, Field(ge=0)] = 0
    """Restarts after failures so far, against `failurePolicy.maxRestarts`."""
    preemptions: Annotated[int, Field(ge=0)] = 0
    """Restarts after a pod was evicted, preempted or lost with its node, against `failurePolicy.maxPreemptions`."""
    next_attempt_time: PreciseTime | None = None
    """Pods of `attempt` are not created before this time: the backoff of a restart. Absent: no wait."""
    start_time: Time | None = None
    """When the first pods were created. `activeDeadlineSeconds` counts from here."""
    running_time: Time | None = None
    """When all workers of the current attempt ran."""
    completion_time: Time | None = None
    """When the job became Succeeded or Failed. `ttlSecondsAfterFinished` counts from here."""
    suspended_seconds: Annotated[int, Field(ge=0)] = 0
    """Seconds that the job was suspended since `startTime`: they do not count against `activeDeadlineSeconds`."""
    workers: WorkerCounts = Field(default_factory=WorkerCounts)
    """Workers of the current attempt."""
    progress: Progress | None = None
    """What the lead agent last told."""
    checkpoint: CheckpointStatus | None = None
    """The latest committed checkpoint."""
    best_checkpoint: CheckpointStatus | None = None
    """The best committed checkpoint by `checkpoints.scoreAttribute`."""
    uploads: Uploads | None = None
    """What waits for the store."""
    tracking: Annotated[list[TrackingRun], Field(max_length=MAX_TRACKING)] = Field(default_factory=list)
    """Runs in experiment trackers, over all attempts: the newest 8."""
    result: Result | None = None
    """What came out, once the job is finished."""
    history: Annotated[list[FailureRecord], BeforeValidator(_newest), Field(max_length=MAX_HISTORY)] = Field(
        default_factory=list
    )
    """The newest 20 attempts that ended early, oldest first."""

    def to_body(self) -> dict[str, Any]:
        """Return the status as JSON values with the names of the schema; what is absent is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @property
    def finished(self) -> bool:
        """Whether the job is over for good."""
        return self.phase in FINISHED

    def condition(self, type: str) -> Condition | None:
        """Return the condition of this type, if there is one."""
        return next((condition for condition in self.conditions if condition.type == type), None)
