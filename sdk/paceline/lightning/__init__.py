"""PyTorch Lightning in Paceline: what a `Trainer` is given so that it trains as one rank of a run.

    from paceline.lightning import DDPStrategy, LightningEnvironment, TrainReportCallback, prepare_trainer

    trainer = Trainer(
        devices="auto", accelerator="auto", strategy=DDPStrategy(), plugins=[LightningEnvironment()],
        callbacks=[TrainReportCallback()],
    )
    prepare_trainer(trainer).fit(model, loader)

The same for `lightning.pytorch` and for `pytorch_lightning`: the one that your script has imported. Importing this
module imports neither.
"""

from paceline.lightning._callback import TrainReportCallback
from paceline.lightning._check import prepare_trainer
from paceline.lightning._environment import LightningEnvironment
from paceline.lightning._strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy

__all__ = [
    "DDPStrategy",
    "DeepSpeedStrategy",
    "FSDPStrategy",
    "LightningEnvironment",
    "TrainReportCallback",
    "prepare_trainer",
]
