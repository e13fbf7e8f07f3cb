"""Train a small network on handwritten digits with PyTorch Lightning and its loggers, on this machine or as a TrainJob.

    python train.py --tracker tensorboard
    WANDB_MODE=offline python train.py --tracker wandb --tracker mlflow

The loggers are Lightning's own. Each is told the id of the training run, which is the same in every attempt: after a
restart the curves go on in the same run of W&B, MLflow, Comet and TensorBoard.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import CometLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from paceline import train
from paceline.lightning import DDPStrategy, LightningEnvironment, TrainReportCallback, prepare_trainer
from paceline.torch import TorchTrainer
from paceline.train import FailureConfig, RunConfig, ScalingConfig

PROJECT = "digits"
RUN_ID_TAG = "paceline.run_id"


def wandb_logger(log_dir: Path, checkpoint: Path | None) -> Logger:
    """WANDB_API_KEY, or WANDB_MODE=offline and later `wandb sync`."""
    context = train.get_context()
    return WandbLogger(
        project=PROJECT,
        name=context.get_experiment_name(),
        id=context.get_trial_id(),
        resume="allow",
        save_dir=log_dir,
    )


def mlflow_logger(log_dir: Path, checkpoint: Path | None) -> Logger:
    """MLFLOW_TRACKING_URI, else a file in `log_dir`. MLflow chooses the ids of its runs: a tag says which is ours."""
    from mlflow import MlflowClient

    context = train.get_context()
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    artifacts = None if uri else (log_dir / "mlartifacts").as_uri()  # a server knows where its artifacts lie
    uri = uri or f"sqlite:///{log_dir}/mlflow.db"
    client, run_id = MlflowClient(uri), context.get_trial_id()
    experiment = client.get_experiment_by_name(PROJECT)
    mine = f"tags.`{RUN_ID_TAG}` = '{run_id}'"
    found = client.search_runs([experiment.experiment_id], mine) if experiment else []
    return MLFlowLogger(
        experiment_name=PROJECT,
        run_name=context.get_experiment_name(),
        tracking_uri=uri,
        artifact_location=artifacts,
        tags={RUN_ID_TAG: run_id},
        run_id=found[0].info.run_id if found else None,
    )


def comet_logger(log_dir: Path, checkpoint: Path | None) -> Logger:
    """COMET_API_KEY, or COMET_START_ONLINE=false and later `comet upload`."""
    context = train.get_context()
    return CometLogger(
        project=PROJECT,
        name=context.get_experiment_name(),
        # 32 to 50 letters and digits.
        experiment_key=hashlib.sha256(context.get_trial_id().encode()).hexdigest()[:40],
        mode="get_or_create",
        # Not online=False: with that Lightning 2.6 makes an experiment that is disabled and writes no archive.
        offline_directory=str(log_dir / "comet"),
    )


def tensorboard_logger(log_dir: Path, checkpoint: Path | None) -> Logger:
    """`tensorboard --logdir <log_dir>/tensorboard`. A file for each attempt; what is trained again counts once."""
    done = torch.load(checkpoint, weights_only=False)["global_step"] if checkpoint else None
    context = train.get_context()
    return TensorBoardLogger(
        log_dir / "tensorboard",
        name=context.get_experiment_name(),
        version=context.get_trial_id(),
        purge_step=None if done is None else done + 1,
    )


LOGGERS: dict[str, Callable[[Path, Path | None], Logger]] = {
    "wandb": wandb_logger,
    "mlflow": mlflow_logger,
    "comet": comet_logger,
    "tensorboard": tensorboard_logger,
}


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the digits that scikit-learn brings (8 x 8 pixels each) and their labels.

    Read without its import, which takes seconds, in every worker at every start.
    """
    (sklearn,) = find_spec("sklearn").submodule_search_locations
    rows = np.loadtxt(Path(sklearn) / "datasets/data/digits.csv.gz", delimiter=",")
    return rows[:, :-1], rows[:, -1].astype(np.int64)


class DigitsClassifier(pl.LightningModule):
    """A module as Lightning wants it: nothing in it knows of Paceline or of a tracker."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)

    def training_step(self, batch: list[torch.Tensor], batch_index: int) -> torch.Tensor:
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_index: int) -> None:
        x, y = batch
        accuracy = (self(x).argmax(dim=1) == y).float().mean()
        self.log("accuracy", accuracy, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


class DigitsData(pl.LightningDataModule):
    """Lightning adds a distributed sampler to both loaders."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        x, y = load_digits()
        x, y = torch.from_numpy((x / x.max()).astype("float32")), torch.from_numpy(y).long()
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        validation, training = order.split([len(x) // 5, len(x) - len(x) // 5])
        self.train_set = TensorDataset(x[training], y[training])
        self.validation_set = TensorDataset(x[validation], y[validation])

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.validation_set, batch_size=256)


def train_fn(config: dict[str, Any]) -> None:
    """What every worker does."""
    checkpoint = train.get_checkpoint()
    if checkpoint is None:
        fit(config, None)
        return
    with checkpoint.as_directory() as folder:
        fit(config, Path(folder, TrainReportCallback.CHECKPOINT_NAME))


def fit(config: dict[str, Any], checkpoint: Path | None) -> None:
    """Train to the last epoch; `checkpoint` is the file to go on from."""
    loggers = []
    # On rank 0 alone: MLflow's client opens its store as soon as it is made, and two that make a new file are in each
    # other's way. Before the seed: Comet draws the names of its archives from `random`, and with the same one each
    # attempt would write over the last.
    if train.get_context().get_world_rank() == 0:
        log_dir = Path(config["log_dir"])
        log_dir.mkdir(parents=True, exist_ok=True)
        loggers = [LOGGERS[name](log_dir, checkpoint) for name in config["trackers"]]
    pl.seed_everything(0, verbose=False)
    trainer = pl.Trainer(
        max_epochs=config["epochs"],
        devices="auto",
        accelerator="auto",
        strategy=DDPStrategy(),
        plugins=[LightningEnvironment()],
        callbacks=[TrainReportCallback()],
        logger=loggers,
        # The reports take the place of Lightning's own files.
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer = prepare_trainer(trainer)
    trainer.fit(DigitsClassifier(config["lr"]), datamodule=DigitsData(config["batch_size"]), ckpt_path=checkpoint)
    # Lightning finishes the runs of MLflow and TensorBoard itself, those of the other two only at the process's exit.
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()
        if isinstance(logger, CometLogger):
            logger.experiment.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracker", action="append", choices=list(LOGGERS), help="may be given more than once")
    parser.add_argument("--log-dir", default="logs", help="where loggers keep files: a directory that outlives workers")
    parser.add_argument("--workers", type=int, default=2, help="processes on this machine")
    parser.add_argument("--max-failures", type=int, default=0, help="restarts from the last checkpoint")
    parser.add_argument("--storage-path", help="a directory or a URI; default ~/paceline_results")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=16, help="samples per worker and step")
    parser.add_argument("--lr", type=float, default=5e-3)
    args = parser.parse_args()
    config = {name: getattr(args, name) for name in ("epochs", "batch_size", "lr")}
    # Workers have a working directory of their own.
    config |= {"trackers": args.tracker or ["tensorboard"], "log_dir": str(Path(args.log_dir).absolute())}
    trainer = TorchTrainer(
        train_fn,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=args.workers),
        run_config=RunConfig(
            storage_path=args.storage_path, failure_config=FailureConfig(max_failures=args.max_failures)
        ),
    )
    result = trainer.fit()
    print(f"accuracy {result.metrics['accuracy']:.4f}; the model is in {result.checkpoint.path}")


if __name__ == "__main__":
    main()
