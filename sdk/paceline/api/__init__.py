"""The TrainJob resource: its models are the only source of the CRD, its reference page and its checks."""

from paceline.api.core import EnvFromSource, EnvVar, EnvVarSource, FieldRef, KeyRef, ObjectRef, PodTemplate
from paceline.api.problems import Problem, check
from paceline.api.spec import (
    Agent,
    BackoffSeconds,
    Checkpoints,
    Credential,
    FailurePolicy,
    Scheduling,
    Storage,
    StorageVolume,
    TrainJobSpec,
    WorkerResources,
    Workers,
)
from paceline.api.status import (
    CheckpointStatus,
    Condition,
    FailureRecord,
    Progress,
    Result,
    TrainJobStatus,
    WorkerCounts,
    WorkerError,
)
from paceline.api.trainjob import ObjectMeta, TrainJob

__all__ = [
    "Agent",
    "BackoffSeconds",
    "CheckpointStatus",
    "Checkpoints",
    "Condition",
    "Credential",
    "EnvFromSource",
    "EnvVar",
    "EnvVarSource",
    "FailurePolicy",
    "FailureRecord",
    "FieldRef",
    "KeyRef",
    "ObjectMeta",
    "ObjectRef",
    "PodTemplate",
    "Problem",
    "Progress",
    "Result",
    "Scheduling",
    "Storage",
    "StorageVolume",
    "TrainJob",
    "TrainJobSpec",
    "TrainJobStatus",
    "WorkerCounts",
    "WorkerError",
    "WorkerResources",
    "Workers",
    "check",
]
