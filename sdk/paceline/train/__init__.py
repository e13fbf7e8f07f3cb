"""What training code calls: report metrics and checkpoints, find out who it is, resume.

    from paceline import train

    checkpoint = train.get_checkpoint()
    train.report({"loss": loss}, checkpoint=train.Checkpoint.from_directory(directory))

Importing it takes a few milliseconds and no third-party module. Outside a worker everything works too: rank 0 of 1,
nothing to resume from, and reports are checked and then dropped.
"""

from paceline.train._checkpoint import Checkpoint
from paceline.train._context import StorageInfo, TrainContext, get_context
from paceline.train._report import get_checkpoint, report

__all__ = ["Checkpoint", "StorageInfo", "TrainContext", "get_checkpoint", "get_context", "report"]
