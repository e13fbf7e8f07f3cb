"""Names that the resource, the operator and the agent share: group, labels, reserved environment variables."""

from __future__ import annotations

GROUP = "paceline.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "TrainJob"
PLURAL = "trainjobs"
SINGULAR = "trainjob"
SHORT_NAME = "tj"

LABEL_JOB = f"{GROUP}/job"
LABEL_ATTEMPT = f"{GROUP}/attempt"
LABEL_INDEX = f"{GROUP}/index"
LABEL_TENSORBOARD = f"{GROUP}/tensorboard"

WORKER_CONTAINER = "worker"
INJECT_CONTAINER = "paceline-inject"
TENSORBOARD_PORT = 6006
VOLUME = "paceline"
MOUNT_PATH = "/paceline"

# `<job>-<attempt>-<index>` has to fit into the 63 characters of a host name.
MAX_JOB_NAME = 50

# The rank variables: Paceline sets them for each process, so a value given by the user could only be wrong.
RANK_ENV = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "NODE_RANK",
    "GROUP_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
)
# Set for framework `tensorflow` alone, and reserved there alone.
TF_CONFIG = "TF_CONFIG"
ENV_PREFIX = "PACELINE_"


def tensorboard(job: str) -> str:
    """Return the name of the Deployment and the Service that show the events of a job."""
    return f"{job}-tensorboard"


def is_reserved_env(name: str) -> bool:
    """Tell whether the user may not set this variable, whatever the framework."""
    return name in RANK_ENV or name.startswith(ENV_PREFIX)
