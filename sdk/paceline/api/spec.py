"""What the user asks for: `spec` of a TrainJob."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from paceline.api.base import INT32_MAX, TYPE_RULE, Quantity, SpecModel
from paceline.api.core import EnvFromSource, EnvVar, ObjectName, ObjectRef, PodTemplate
from paceline.api.tracking import Tracking

Framework: TypeAlias = Literal["torch", "tensorflow", "none"]
Placement: TypeAlias = Literal["Pack", "Spread", "StrictPack", "StrictSpread"]
CleanPodPolicy: TypeAlias = Literal["Running", "All", "None"]
ScoreOrder: TypeAlias = Literal["min", "max"]
FailureAction: TypeAlias = Literal["Fail", "Restart", "RestartUncounted"]
FailureCause: TypeAlias = Literal[
    "WorkerFailed", "OOMKilled", "Stalled", "PodFailed", "PodDeleted", "PodEvicted", "Preempted", "PodUnreachable",
    "NodeLost", "StartTimeout", "Unschedulable", "StorageError", "InvalidConfig", "MissingCredentials",
]  # fmt: skip
Gang: TypeAlias = Literal["Auto", "PodGroup", "Timeout", "None"]
ImagePullPolicy: TypeAlias = Literal["Always", "IfNotPresent", "Never"]

MountPath: TypeAlias = Annotated[str, Field(min_length=1, max_length=512, json_schema_extra={TYPE_RULE: "mount-path"})]
OptionalName: TypeAlias = Annotated[str, Field(max_length=253, json_schema_extra={TYPE_RULE: "optional-object-name"})]
Arg: TypeAlias = Annotated[str, Field(max_length=8192)]


class WorkerResources(SpecModel):
    """What one worker gets; a pod gets `perPod` times as much."""

    cpu: Quantity | None = None
    """CPUs of a worker, such as `4` or `500m`. Request and limit. Also sets OMP_NUM_THREADS."""
    memory: Quantity | None = None
    """Memory of a worker, such as `16Gi`. Request and limit."""
    gpu: Annotated[int, Field(ge=0, le=64)] = 0
    """GPUs of a worker, counted in `gpuResource`."""


class Workers(SpecModel):
    """The processes of the job and how they share pods and nodes."""

    count: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Number of processes: the world size. A multiple of `perPod`."""
    per_pod: Annotated[int, Field(ge=1, le=128)] = 1
    """Processes in a pod, usually the number of GPUs of a node."""
    resources: WorkerResources = Field(default_factory=WorkerResources)
    """What one worker gets."""
    gpu_resource: Annotated[str, Field(min_length=3, max_length=317)] = "nvidia.com/gpu"
    """Name of the extended resource that `resources.gpu` counts."""
    accelerator: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """Kind of GPU, such as `A100`: a name from the operator's `accelerators`, which give the node labels."""
    placement: Placement = "Pack"
    """Pack: few nodes where possible. Spread: many nodes where possible. StrictPack: one node or not at all.
    StrictSpread: one pod a node or not at all."""
    shared_memory: Quantity | None = None
    """Size of /dev/shm in each pod, such as `8Gi`; it counts against the pod's memory. Absent: the node's default."""


class StorageVolume(SpecModel):
    """A PersistentVolumeClaim mounted in every pod."""

    claim_name: ObjectName
    """Name of the claim in the job's namespace. With more than one pod it has to be ReadWriteMany."""
    mount_path: MountPath
    """Where it is mounted in the worker: an absolute path."""
    sub_path: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Directory within the volume to mount instead of its root."""


class StorageSecretRef(SpecModel):
    """A Secret in the job's namespace."""

    name: ObjectName
    """Name of the Secret."""
    key: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """With a `gs://` path alone: the key of the Secret that holds the service account's JSON, mounted as a file.
    Absent: `key.json`."""


class Storage(SpecModel):
    """Where checkpoints and results are kept: everything is under `<path>/<name>`."""

    path: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """`s3://bucket/prefix` (also with `?endpoint_override=http://host:9000`, `region`, `scheme`,
    `allow_bucket_creation`), `gs://bucket/prefix`, `hdfs://host:port/dir` or `webhdfs://host:port/dir` (both with
    `?user=NAME`), or an absolute path on `volume`. Never with credentials. Absent: the operator's `defaultStorage`."""
    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """Directory of this run below `path`. Absent: the job's name. A later job of the same name and path goes on from
    its checkpoints."""
    volume: StorageVolume | None = None
    """The volume that holds `path` when that is an absolute path."""
    secret_ref: StorageSecretRef | None = None
    """Secret whose keys become variables of the workers: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY ... With a `gs://`
    path, one key of it becomes a file instead, which GOOGLE_APPLICATION_CREDENTIALS names. Absent: the pod's own
    identity."""


class Credential(SpecModel):
    """A Secret that reaches every worker: as variables, as files, or as both."""

    secret_ref: ObjectRef
    """The Secret."""
    mount_path: MountPath | None = None
    """Directory in which each key is a file. Absent: each key is a variable."""
    as_env: bool | None = None
    """Whether each key is a variable too, beside the files in `mountPath`. Absent: only where there is no
    `mountPath`."""
    env: Annotated[
        dict[str, Annotated[str, Field(max_length=4096)]],
        Field(max_length=32),
    ] = Field(default_factory=dict)
    """Variables to set along with it, such as the path of a mounted file."""


class Checkpoints(SpecModel):
    """Which checkpoints are kept, and where the first attempt starts."""

    keep: Annotated[int, Field(ge=1, le=INT32_MAX)] | None = None
    """How many committed checkpoints are kept; the latest always is. Absent: all."""
    score_attribute: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Metric by which checkpoints are compared: the best are kept. Absent: the newest are kept."""
    score_order: ScoreOrder | None = None
    """Whether the smallest (`min`) or the largest (`max`) score is best. With `scoreAttribute` alone; absent: max."""
    resume_from: Annotated[str, Field(max_length=1024)] = ""
    """Empty: the latest committed checkpoint of this run. `none`: start fresh. Else the URI or path of a checkpoint for
    the first attempt."""
    max_pending: Annotated[int, Field(ge=1, le=1000)] = 2
    """How many checkpoints of a pod may wait for the store. With as many waiting, the next report with a checkpoint
    holds its worker until one is stored."""


class Artifacts(SpecModel):
    """Files that the workers write beside checkpoints, kept in `artifacts/` of the run."""

    sync: bool = False
    """True: what the processes write below their working directory is stored. The same name from several pods: the last
    one stored stays."""
    period_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    """Seconds between two looks for new and changed files."""
    timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 1800
    """Seconds after which one round of storing is given up: the next one tries again."""
    on_checkpoint: bool = True
    """True: also with each checkpoint."""


class BackoffSeconds(SpecModel):
    """Waiting time before a restart without progress since the failure before: doubled each time, from `initial` up to
    `max`. The first failure after progress restarts at once."""

    initial: Annotated[int, Field(ge=0, le=86_400)] = 1
    """Seconds before the second restart in a row without progress."""
    max: Annotated[int, Field(ge=0, le=86_400)] = 300
    """Seconds at most."""


class FailureRule(SpecModel):
    """What happens after some failures. Both lists given: both must match."""

    exit_codes: Annotated[list[Annotated[int, Field(ge=1, le=255)]], Field(max_length=64)] = Field(default_factory=list)
    """Exit codes of the worker that failed first; 128 + n for signal n. They speak for workers that ended by
    themselves, not for those of pods that were evicted, preempted, deleted or lost with their node."""
    reasons: Annotated[list[FailureCause], Field(max_length=16)] = Field(default_factory=list)
    """Causes, as `status.history` names them."""
    action: FailureAction
    """Fail: the job is over. Restart: the group starts again, counted against maxRestarts. RestartUncounted: it starts
    again without being counted."""


class FailurePolicy(SpecModel):
    """What happens after a failure. Can be changed while the job runs."""

    max_restarts: Annotated[int, Field(ge=-1, le=INT32_MAX)] = 3
    """How many times the whole group starts again from the latest checkpoint. -1: without bound. 0: never."""
    max_preemptions: Annotated[int, Field(ge=-1, le=INT32_MAX)] = -1
    """As maxRestarts, for restarts after a pod was evicted, preempted, unreachable or lost with its node. Counted
    apart."""
    backoff_seconds: BackoffSeconds = Field(default_factory=BackoffSeconds)
    """Waiting time before a restart."""
    stall_timeout_seconds: Annotated[int, Field(ge=0, le=INT32_MAX)] = 1800
    """Seconds without a report of a worker that has reported before, until the group starts again with the cause
    Stalled; never less than three times the longest silence before a report so far. 0: never. Of scripts that do not
    report nothing is known. A change takes effect with the next attempt."""
    start_timeout_seconds: Annotated[int, Field(ge=0, le=INT32_MAX)] = 1800
    """Seconds from the time when all pods of an attempt have a node until all of their workers run; then the group
    starts again with the cause StartTimeout, so that pods which hang hold no GPUs for ever. 0: never."""
    rules: Annotated[list[FailureRule], Field(max_length=16)] = Field(default_factory=list)
    """The first one that matches decides. Where none does, storage and configuration errors and missing credentials end
    the job, and all else restarts it."""


class Scheduling(SpecModel):
    """How the pods are scheduled."""

    priority_class_name: OptionalName = ""
    """PriorityClass of the pods. Empty: the cluster's default."""
    scheduler_name: OptionalName = ""
    """Scheduler of the pods. Empty: the cluster's default."""
    gang: Gang = "Auto"
    """How several pods get their nodes all together or not at all. PodGroup: by Kubernetes' own PodGroup, one for each
    attempt. Timeout: a set that is placed in part is freed after `timeoutSeconds` and tried again. Auto: PodGroup where
    the API server serves it and the default scheduler is used, else Timeout. None: neither."""
    timeout_seconds: Annotated[int, Field(ge=1, le=INT32_MAX)] = 600
    """Seconds that pods may hold nodes while others of the same attempt have none; with any `gang` but None. The next
    attempt comes after a wait, and nothing is counted. A set of which no pod has a node waits as long as it takes."""


class Agent(SpecModel):
    """The process that runs in front of the workers of a pod."""

    inject: bool = True
    """True: an init container brings the agent into the image, which needs only Python 3.10 or newer. False: the image
    has `paceline` installed."""


class TrainJobSpec(SpecModel):
    """What to run, on how many workers, and where the results go.

    Fixed at creation, but for `suspend`, `activeDeadlineSeconds`, `ttlSecondsAfterFinished`, `cleanPodPolicy` and
    `failurePolicy`.
    """

    framework: Framework = "none"
    """What the workers are prepared for: `torch` (process group by environment), `tensorflow` (TF_CONFIG as well) or
    `none` (the rank variables alone)."""
    image: Annotated[str, Field(min_length=1, max_length=1024)]
    """Image of the workers. Any with Python 3.10 or newer."""
    image_pull_policy: ImagePullPolicy | None = None
    """When the image is pulled. Absent: Always for the tag `latest`, else IfNotPresent."""
    command: Annotated[list[Annotated[str, Field(min_length=1, max_length=8192)]], Field(min_length=1, max_length=64)]
    """Command of a worker; started once for each process of a pod."""
    args: Annotated[list[Arg], Field(max_length=512)] = Field(default_factory=list)
    """Arguments after the command."""
    env: Annotated[
        list[EnvVar],
        Field(
            max_length=256,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """Environment variables of every worker. They win over all but those that Paceline reserves."""
    env_from: Annotated[list[EnvFromSource], Field(max_length=64)] = Field(default_factory=list)
    """Secrets and ConfigMaps whose keys become variables."""
    workers: Workers = Field(default_factory=Workers)
    """The processes of the job and how they share pods and nodes."""
    pod_template: PodTemplate = Field(default_factory=PodTemplate)
    """Merged last into the pods: whatever the fields here do not cover."""
    storage: Storage = Field(default_factory=Storage)
    """Where checkpoints and results are kept."""
    credentials: Annotated[list[Credential], Field(max_length=32)] = Field(default_factory=list)
    """Secrets that reach every worker: keys of experiment trackers, configuration files."""
    tracking: Tracking = Field(default_factory=Tracking)
    """Experiment trackers: their variables, their check before training begins, and TensorBoard."""
    checkpoints: Checkpoints = Field(default_factory=Checkpoints)
    """Which checkpoints are kept, and where the first attempt starts."""
    artifacts: Artifacts = Field(default_factory=Artifacts)
    """Files that the workers write beside checkpoints."""
    failure_policy: FailurePolicy = Field(default_factory=FailurePolicy)
    """What happens after a failure."""
    scheduling: Scheduling = Field(default_factory=Scheduling)
    """How the pods are scheduled."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=INT32_MAX)] | None = None
    """Seconds from `status.startTime`, over all attempts and without the time spent suspended, after which the job
    fails. Absent: no limit."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=INT32_MAX)] | None = None
    """Seconds from the end of the job to its deletion; what is in storage stays. Absent: it is kept."""
    clean_pod_policy: CleanPodPolicy = "Running"
    """Which pods are deleted when the job is finished: those still Running, All, or None."""
    suspend: bool = False
    """True: no pods. Setting it on a running job ends its pods after they saved; unsetting it goes on from the latest
    checkpoint. Costs no restart."""
    agent: Agent = Field(default_factory=Agent)
    """The process that runs in front of the workers of a pod."""

    @property
    def pods(self) -> int:
        """Pods of an attempt."""
        return self.workers.count // self.workers.per_pod
