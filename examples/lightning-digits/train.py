"""Train a small network on handwritten digits with PyTorch Lightning, on this machine or as the command of a TrainJob.

    python train.py --workers 2

In the workers of a TrainJob `fit()` trains as the rank that the job gave them.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from paceline import train
from paceline.lightning import DDPStrategy, LightningEnvironment, TrainReportCallback, prepare_trainer
from paceline.torch import TorchTrainer
from paceline.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the digits that scikit-learn brings (8 x 8 pixels each) and their labels.

    Read without its import, which takes seconds, in every worker at every start.
    """
    (sklearn,) = find_spec("sklearn").submodule_search_locations
    rows = np.loadtxt(Path(sklearn) / "datasets/data/digits.csv.gz", delimiter=",")
    return rows[:, :-1], rows[:, -1].astype(np.int64)


class DigitsClassifier(pl.LightningModule):
    """A module as Lightning wants it: nothing in it knows of Paceline."""

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
    pl.seed_everything(0, verbose=False)
    trainer = pl.Trainer(
        max_epochs=config["epochs"],
        devices="auto",
        accelerator="auto",
        strategy=DDPStrategy(),
        plugins=[LightningEnvironment()],
        callbacks=[TrainReportCallback()],
        # The reports take the place of Lightning's own files.
        enable_checkpointing=False,
        logger=False,
        enable_progress_bar=False,
    )
    trainer = prepare_trainer(trainer)
    model, data = DigitsClassifier(config["lr"]), DigitsData(config["batch_size"])

    checkpoint = train.get_checkpoint()
    if checkpoint is None:
        trainer.fit(model, datamodule=data)
    else:
        with checkpoint.as_directory() as folder:
            trainer.fit(model, datamodule=data, ckpt_path=Path(folder, TrainReportCallback.CHECKPOINT_NAME))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="processes on this machine")
    parser.add_argument("--use-gpu", action="store_true", help="a GPU for each worker")
    parser.add_argument("--max-failures", type=int, default=0, help="restarts from the last checkpoint")
    parser.add_argument("--storage-path", help="a directory or a URI; default ~/paceline_results")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=16, help="samples per worker and step")
    parser.add_argument("--lr", type=float, default=5e-3)
    args = parser.parse_args()
    config = {"epochs": args.epochs, "batch_size": args.batch_size, "lr": args.lr}
    trainer = TorchTrainer(
        train_fn,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=args.workers, use_gpu=args.use_gpu),
        run_config=RunConfig(
            storage_path=args.storage_path,
            failure_config=FailureConfig(max_failures=args.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="accuracy"),
        ),
    )
    result = trainer.fit()
    print(f"accuracy {result.metrics['accuracy']:.4f}; the model is in {result.checkpoint.path}")


if __name__ == "__main__":
    main()
