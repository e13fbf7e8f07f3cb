"""Experiment trackers in a run of several processes: one run of theirs for one run of ours, also over restarts.

    from paceline import tracking

    run = tracking.setup_wandb(config, project="digits")
    run.log({"loss": loss})

Rank 0 gets the library's own object, the other ranks one that does nothing. Using a library natively works as well;
these are conveniences. `WandbCallback` and the others log what `report()` tells, by `RunConfig(callbacks=[...])`.
Importing this package imports no tracker.
"""

from typing import TYPE_CHECKING

from paceline import _later

if TYPE_CHECKING:
    from paceline.tracking._callbacks import CometCallback, MLflowCallback, TensorBoardCallback, WandbCallback
    from paceline.tracking._comet import setup_comet
    from paceline.tracking._errors import MissingCredentialsError
    from paceline.tracking._mlflow import setup_mlflow
    from paceline.tracking._tensorboard import tensorboard_writer
    from paceline.tracking._wandb import setup_wandb

__all__ = [
    "CometCallback",
    "MLflowCallback",
    "MissingCredentialsError",
    "TensorBoardCallback",
    "WandbCallback",
    "setup_comet",
    "setup_mlflow",
    "setup_wandb",
    "tensorboard_writer",
]

_HOMES = {
    "CometCallback": "_callbacks",
    "MLflowCallback": "_callbacks",
    "MissingCredentialsError": "_errors",
    "TensorBoardCallback": "_callbacks",
    "WandbCallback": "_callbacks",
    "setup_comet": "_comet",
    "setup_mlflow": "_mlflow",
    "setup_wandb": "_wandb",
    "tensorboard_writer": "_tensorboard",
}
__getattr__, __dir__ = _later.names(__name__, _HOMES)
