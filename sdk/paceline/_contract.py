"""Names on the wire between operator, agent and SDK (docs/design/0001-spine.md).

`paceline_operator.contract` holds the same names for the operator; a test compares the two. Standard library only, and
nothing is computed here: every process of a training job imports this module.
"""

from __future__ import annotations

from typing import Final

# Set for every process, by the operator for the pod's first one and by the agent for each.
RANK: Final = "RANK"
WORLD_SIZE: Final = "WORLD_SIZE"
LOCAL_RANK: Final = "LOCAL_RANK"
LOCAL_WORLD_SIZE: Final = "LOCAL_WORLD_SIZE"
NODE_RANK: Final = "NODE_RANK"
GROUP_RANK: Final = "GROUP_RANK"
MASTER_ADDR: Final = "MASTER_ADDR"
MASTER_PORT: Final = "MASTER_PORT"
OMP_NUM_THREADS: Final = "OMP_NUM_THREADS"
TF_CONFIG: Final = "TF_CONFIG"
LEGACY_KERAS: Final = "TF_USE_LEGACY_KERAS"

JOB: Final = "PACELINE_JOB"
NAMESPACE: Final = "PACELINE_NAMESPACE"
RUN_ID: Final = "PACELINE_RUN_ID"
ATTEMPT: Final = "PACELINE_ATTEMPT"
FRAMEWORK: Final = "PACELINE_FRAMEWORK"
STORAGE_PATH: Final = "PACELINE_STORAGE_PATH"
EXPERIMENT_NAME: Final = "PACELINE_EXPERIMENT_NAME"
RESUME_FROM: Final = "PACELINE_RESUME_FROM"
CHECKPOINTS: Final = "PACELINE_CHECKPOINTS"
LEAD: Final = "PACELINE_LEAD"
GRACE_SECONDS: Final = "PACELINE_GRACE_SECONDS"
STALL_SECONDS: Final = "PACELINE_STALL_SECONDS"
ARTIFACTS: Final = "PACELINE_ARTIFACTS"
TRACKING: Final = "PACELINE_TRACKING"

# Set by a process that runs the function of a trainer, for its children: no second run begins in there.
IN_FIT: Final = "PACELINE_IN_FIT"

# Set by the agent alone.
AGENT_SOCKET: Final = "PACELINE_AGENT_SOCKET"
STAGING: Final = "PACELINE_STAGING"
RESUMED_CHECKPOINT: Final = "PACELINE_RESUMED_CHECKPOINT"
STOP_PAGE: Final = "PACELINE_STOP_PAGE"

# Settings of the agent that the operator never sets: tests and local runs do.
AGENT_HOST: Final = "PACELINE_AGENT_HOST"
AGENT_PORT: Final = "PACELINE_AGENT_PORT"
AGENT_DIR: Final = "PACELINE_AGENT_DIR"
TERMINATION_LOG: Final = "PACELINE_TERMINATION_LOG"
LEAD_START_SECONDS: Final = "PACELINE_LEAD_START_SECONDS"
LEAD_LOST_SECONDS: Final = "PACELINE_LEAD_LOST_SECONDS"
PREVIOUS_LEAD: Final = "PACELINE_PREVIOUS_LEAD"
INJECT_SOURCE: Final = "PACELINE_INJECT_SOURCE"
STORAGE_FILESYSTEM: Final = "PACELINE_STORAGE_FILESYSTEM"
WORK_DIR: Final = "PACELINE_WORK_DIR"
LIFELINE: Final = "PACELINE_LIFELINE"

# The user's own: no look at trackers before the start.
TRACKING_PREFLIGHT: Final = "PACELINE_TRACKING_PREFLIGHT"

# Defaults of runs that are started on this machine.
STORAGE: Final = "PACELINE_STORAGE"
LOCAL_CACHE_DIR: Final = "PACELINE_LOCAL_CACHE_DIR"

AGENT_HTTP_PORT: Final = 8470
DEFAULT_MASTER_PORT: Final = 29500
TERMINATION_MESSAGE_BYTES: Final = 4096

EXIT_INVALID_CONFIG: Final = 64
TASK_ERROR: Final = "TaskError"  # with that code: a worker of `paceline.trainer` cannot use what it was given
EXIT_STORAGE: Final = 70
EXIT_LEAD_LOST: Final = 75
EXIT_STALLED: Final = 76
EXIT_NOT_EXECUTABLE: Final = 126
EXIT_NOT_FOUND: Final = 127
EXIT_TERMINATED: Final = 143

# Files of a run directory.
COMMIT_FILE: Final = ".paceline.json"
METADATA_FILE: Final = ".metadata.json"  # of a checkpoint; may change after the commit, so nothing compares it
CHECKPOINT_PREFIX: Final = "checkpoint_"
STATE_DIR: Final = ".paceline"
RESULT_FILE: Final = "result.json"
PROGRESS_FILE: Final = "progress.csv"
PARAMS_FILE: Final = "params.json"
ERROR_FILE: Final = "error.json"
TRACKING_FILE: Final = "tracking.json"  # below the state directory, as error.json
EVENTS_PREFIX: Final = "events.out.tfevents"
ARTIFACTS_DIR: Final = "artifacts"

REASON_ERROR: Final = "Error"
REASON_STORAGE: Final = "StorageError"
REASON_CONFIG: Final = "InvalidConfig"
REASON_STALLED: Final = "Stalled"
REASON_COMMAND: Final = "CommandNotStarted"
REASON_LEAD_LOST: Final = "LeadLost"
REASON_AGENT_LOST: Final = "AgentLost"
REASON_FENCED: Final = "Fenced"
REASON_OOM: Final = "OOMKilled"
REASON_CREDENTIALS: Final = "MissingCredentials"
