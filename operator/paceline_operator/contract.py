"""Names that the operator shares with the agent, the SDK and the chart: docs/design/0001-spine.md."""

from __future__ import annotations

from paceline.api import names

LABEL_JOB = names.LABEL_JOB
LABEL_ATTEMPT = names.LABEL_ATTEMPT
LABEL_INDEX = names.LABEL_INDEX
LABEL_TENSORBOARD = names.LABEL_TENSORBOARD
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "paceline"

WORKER_CONTAINER = names.WORKER_CONTAINER
INJECT_CONTAINER = names.INJECT_CONTAINER
VOLUME = names.VOLUME
MOUNT_PATH = names.MOUNT_PATH
HOME_PATH = f"{MOUNT_PATH}/home"
TMP_PATH = f"{MOUNT_PATH}/tmp"
RUN_SCRIPT = f"{MOUNT_PATH}/run"
SHARED_MEMORY_VOLUME = "paceline-shm"
STORAGE_VOLUME = "paceline-storage"
STORAGE_KEY_VOLUME = "paceline-storage-key"
STORAGE_KEY_DIRECTORY = "/var/run/secrets/paceline.dev/storage"
STORAGE_KEY_FILE = "key.json"

AGENT_PORT = 8470
AGENT_PORT_NAME = "agent"
MASTER_PORT = 29500
TF_PORT = 2222

RANK = "RANK"
WORLD_SIZE = "WORLD_SIZE"
LOCAL_RANK = "LOCAL_RANK"
LOCAL_WORLD_SIZE = "LOCAL_WORLD_SIZE"
NODE_RANK = "NODE_RANK"
GROUP_RANK = "GROUP_RANK"
MASTER_ADDR = "MASTER_ADDR"
MASTER_PORT_ENV = "MASTER_PORT"
TF_CONFIG = names.TF_CONFIG
OMP_NUM_THREADS = "OMP_NUM_THREADS"
HOME = "HOME"
TMPDIR = "TMPDIR"
GOOGLE_CREDENTIALS = "GOOGLE_APPLICATION_CREDENTIALS"

JOB = "PACELINE_JOB"
NAMESPACE = "PACELINE_NAMESPACE"
RUN_ID = "PACELINE_RUN_ID"
ATTEMPT = "PACELINE_ATTEMPT"
FRAMEWORK = "PACELINE_FRAMEWORK"
STORAGE_PATH = "PACELINE_STORAGE_PATH"
EXPERIMENT_NAME = "PACELINE_EXPERIMENT_NAME"
RESUME_FROM = "PACELINE_RESUME_FROM"
CHECKPOINTS = "PACELINE_CHECKPOINTS"
ARTIFACTS = "PACELINE_ARTIFACTS"
TRACKING = "PACELINE_TRACKING"
LEAD = "PACELINE_LEAD"
GRACE_SECONDS = "PACELINE_GRACE_SECONDS"
STALL_SECONDS = "PACELINE_STALL_SECONDS"

# Reasons inside the agent's failure report that no restart can mend.
AGENT_STORAGE_ERROR = "StorageError"
AGENT_INVALID_CONFIG = "InvalidConfig"
AGENT_COMMAND_NOT_STARTED = "CommandNotStarted"
AGENT_MISSING_CREDENTIALS = "MissingCredentials"
# Of what was seen from outside: no process has ended by itself.
AGENT_STALLED = "Stalled"
AGENT_LOST = "AgentLost"
AGENT_LEAD_LOST = "LeadLost"

STATUS_PATH = "/status"

# Kubernetes' own gang scheduling. 1.37 serves other versions, with other names of conditions: not tried yet.
POD_GROUP_API = "scheduling.k8s.io/v1alpha2"
POD_GROUPS = f"podgroups.{POD_GROUP_API}"
POD_GROUP_SCHEDULED = "PodGroupScheduled"


def group_name(job: str, attempt: int) -> str:
    """Return the name of the PodGroup of an attempt."""
    return f"{job}-{attempt}"


def pod_name(job: str, attempt: int, index: int) -> str:
    """Return the name (and hostname) of a pod."""
    return f"{job}-{attempt}-{index}"


def pod_address(job: str, attempt: int, index: int) -> str:
    """Return the DNS name of a pod within the job's namespace, by the headless Service."""
    return f"{pod_name(job, attempt, index)}.{job}"
