"""Types and reasons of conditions, causes in `status.history`. Each has a heading in docs/troubleshooting.md."""

from __future__ import annotations

# Condition types.
SCHEDULED = "Scheduled"
RUNNING = "Running"
CHECKPOINT_AVAILABLE = "CheckpointAvailable"
SUCCEEDED = "Succeeded"
FAILED = "Failed"
SUSPENDED = "Suspended"
STRAGGLING = "Straggling"
# Also a reason: of this condition, and of a failure.
MISSING_CREDENTIALS = "MissingCredentials"
CONDITION_TYPES = (
    SCHEDULED,
    RUNNING,
    CHECKPOINT_AVAILABLE,
    SUCCEEDED,
    FAILED,
    SUSPENDED,
    STRAGGLING,
    MISSING_CREDENTIALS,
)

# Why the job is over.
ALL_WORKERS_SUCCEEDED = "AllWorkersSucceeded"
INVALID_SPEC = "InvalidSpec"
MAX_RESTARTS_REACHED = "MaxRestartsReached"
MAX_PREEMPTIONS_REACHED = "MaxPreemptionsReached"
DEADLINE_EXCEEDED = "DeadlineExceeded"
# The agent's own: storage refused for good, or a configuration found wrong at start.
STORAGE_ERROR = "StorageError"
INVALID_CONFIG = "InvalidConfig"

# Why an attempt ended early.
WORKER_FAILED = "WorkerFailed"
OOM_KILLED = "OOMKilled"
POD_DELETED = "PodDeleted"
POD_EVICTED = "PodEvicted"
PREEMPTED = "Preempted"
POD_UNREACHABLE = "PodUnreachable"
STALLED = "Stalled"
POD_FAILED = "PodFailed"
NODE_LOST = "NodeLost"
START_TIMEOUT = "StartTimeout"
# Also why it does not run yet.
UNSCHEDULABLE = "Unschedulable"

# A machine was taken from the job, or failed: no fault of the script.
PREEMPTIONS = frozenset({PREEMPTED, POD_EVICTED, POD_UNREACHABLE, NODE_LOST})
# Neither the script nor a machine failed: there was no room.
UNCOUNTED = frozenset({UNSCHEDULABLE})
# The worker was stopped: its exit code is that of the signal, or of the agent.
FROM_OUTSIDE = PREEMPTIONS | {POD_DELETED, STALLED}

# Why it does not run yet, or not now.
WAITING_FOR_NODES = "WaitingForNodes"
WAITING_FOR_WORKERS = "WaitingForWorkers"
IMAGE_PULL_FAILED = "ImagePullFailed"
MISSING_SECRET = "MissingSecret"
MISSING_CONFIG_MAP = "MissingConfigMap"
MISSING_VOLUME = "MissingVolume"
POD_REFUSED = "PodRefused"
QUOTA_EXCEEDED = "QuotaExceeded"
BACKOFF = "Backoff"
RESTARTING = "Restarting"
SUSPENDED_BY_USER = "SuspendedByUser"
RESUMED = "Resumed"
NAME_TAKEN = "NameTaken"
RULE_SHADOWED = "RuleShadowed"
TRACKER_UNREACHABLE = "TrackerUnreachable"
TENSORBOARD_UNAVAILABLE = "TensorBoardUnavailable"
GANG_UNAVAILABLE = "GangUnavailable"

# Why it is slower than it could be.
WORKER_BEHIND = "WorkerBehind"
CAUGHT_UP = "CaughtUp"

# What is well.
ALL_WORKERS_SCHEDULED = "AllWorkersScheduled"
ALL_WORKERS_RUNNING = "AllWorkersRunning"
CHECKPOINT_COMMITTED = "CheckpointCommitted"
NO_CHECKPOINT_YET = "NoCheckpointYet"
FINISHED = "Finished"
FOUND = "Found"

REASONS = frozenset(
    {
        ALL_WORKERS_SUCCEEDED,
        INVALID_SPEC,
        MAX_RESTARTS_REACHED,
        MAX_PREEMPTIONS_REACHED,
        DEADLINE_EXCEEDED,
        STORAGE_ERROR,
        INVALID_CONFIG,
        WORKER_FAILED,
        OOM_KILLED,
        POD_DELETED,
        POD_EVICTED,
        PREEMPTED,
        POD_UNREACHABLE,
        STALLED,
        POD_FAILED,
        NODE_LOST,
        START_TIMEOUT,
        WAITING_FOR_NODES,
        WAITING_FOR_WORKERS,
        UNSCHEDULABLE,
        IMAGE_PULL_FAILED,
        MISSING_SECRET,
        MISSING_CONFIG_MAP,
        MISSING_VOLUME,
        POD_REFUSED,
        QUOTA_EXCEEDED,
        BACKOFF,
        RESTARTING,
        SUSPENDED_BY_USER,
        RESUMED,
        NAME_TAKEN,
        RULE_SHADOWED,
        MISSING_CREDENTIALS,
        TRACKER_UNREACHABLE,
        TENSORBOARD_UNAVAILABLE,
        WORKER_BEHIND,
        CAUGHT_UP,
        GANG_UNAVAILABLE,
        ALL_WORKERS_SCHEDULED,
        ALL_WORKERS_RUNNING,
        CHECKPOINT_COMMITTED,
        NO_CHECKPOINT_YET,
        FINISHED,
        FOUND,
    }
)
