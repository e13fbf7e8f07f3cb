"""What training code calls: report metrics and checkpoints, find out who it is, resume; and what a run leaves.

    from paceline import train

    checkpoint = train.get_checkpoint()
    train.report({"loss": loss}, checkpoint=train.Checkpoint.from_directory(directory))

Importing it takes a few milliseconds and no third-party module. Outside a worker everything works too: rank 0 of 1,
nothing to resume from, and reports are checked and then dropped.
"""

from typing import TYPE_CHECKING

from paceline import _later
from paceline.train._checkpoint import Checkpoint
from paceline.train._context import StorageInfo, TrainContext, get_context
from paceline.train._report import get_checkpoint, report
from paceline.train._stop import should_stop

if TYPE_CHECKING:
    from paceline.train._configs import CheckpointConfig, FailureConfig, RunConfig, SyncConfig
    from paceline.train._failure import TrainingFailedError
    from paceline.train._result import Result
    from paceline.train._scaling import ScalingConfig
    from paceline.train._shards import DataConfig, get_dataset_shard, use_datasets

__all__ = [
    "Checkpoint",
    "CheckpointConfig",
    "DataConfig",
    "FailureConfig",
    "Result",
    "RunConfig",
    "ScalingConfig",
    "StorageInfo",
    "SyncConfig",
    "TrainContext",
    "TrainingFailedError",
    "get_checkpoint",
    "get_context",
    "get_dataset_shard",
    "report",
    "should_stop",
    "use_datasets",
]

# Not needed by a worker, and `dataclasses` alone would double what the import of this module takes.
_LATER = {
    "CheckpointConfig": "_configs",
    "DataConfig": "_shards",
    "FailureConfig": "_configs",
    "Result": "_result",
    "RunConfig": "_configs",
    "ScalingConfig": "_scaling",
    "SyncConfig": "_configs",
    "TrainingFailedError": "_failure",
    "get_dataset_shard": "_shards",
    "use_datasets": "_shards",
}
__getattr__, __dir__ = _later.names(__name__, _LATER)
