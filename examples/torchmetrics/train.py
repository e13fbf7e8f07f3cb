"""Metrics of all workers: TorchMetrics adds them up over the process group, and rank 0 reports the result.

    python train.py --workers 2

A small network learns the progression of diabetes from ten measurements of 442 patients (scikit-learn's data).
Reported are the mean losses of training and validation, and the R2 score over all validation samples: that of the
whole, which is not the mean of the workers' scores.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric
from torchmetrics.regression import R2Score

from paceline import train
from paceline.torch import TorchTrainer, get_device, prepare_data_loader, prepare_model
from paceline.train import ScalingConfig


def train_fn(config: dict[str, Any]) -> None:
    torch.manual_seed(0)
    train_set, validation_set = load_data()
    loader = prepare_data_loader(DataLoader(train_set, batch_size=32, shuffle=True))
    # drop_last: the samples that are left over are dropped, and none counts twice.
    validation_loader = prepare_data_loader(DataLoader(validation_set, batch_size=16, drop_last=True))
    model = prepare_model(build_model())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    device = get_device()
    train_loss, validation_loss = MeanMetric().to(device), MeanMetric().to(device)
    r2 = R2Score().to(device)
    for epoch in range(config["epochs"]):
        model.train()
        for x, y in loader:
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_loss.update(loss.detach(), weight=len(y))

        model.eval()
        with torch.no_grad():
            for x, y in validation_loader:
                predicted = model(x)
                validation_loss.update(nn.functional.mse_loss(predicted, y), weight=len(y))
                r2.update(predicted.flatten(), y.flatten())

        # compute() asks all ranks: call it on each of them.
        metrics = {
            "epoch": epoch + 1,
            "train_loss": train_loss.compute().item(),
            "validation_loss": validation_loss.compute().item(),
            "r2": r2.compute().item(),
        }
        for metric in (train_loss, validation_loss, r2):
            metric.reset()
        report(metrics, model)


def report(metrics: dict[str, float], model: nn.Module) -> None:
    """All ranks report the same numbers, of which rank 0's are taken; rank 0 also gives the model."""
    if train.get_context().get_world_rank() != 0:
        train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.save(getattr(model, "module", model).state_dict(), Path(folder, "model.pt"))
        train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder))


def build_model() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))


def load_data() -> tuple[TensorDataset, TensorDataset]:
    """Return training and validation set, scaled; the same on every rank."""
    x, y = load_diabetes(return_X_y=True, scaled=False)
    x, y = (x - x.mean(axis=0)) / x.std(axis=0), (y - y.mean()) / y.std()
    parts = train_test_split(x.astype("float32"), y.astype("float32"), test_size=128, random_state=0)
    train_x, validation_x, train_y, validation_y = (torch.from_numpy(part) for part in parts)
    return TensorDataset(train_x, train_y[:, None]), TensorDataset(validation_x, validation_y[:, None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="processes on this machine")
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    config = {"epochs": args.epochs}
    scaling = ScalingConfig(num_workers=args.workers)
    result = TorchTrainer(train_fn, train_loop_config=config, scaling_config=scaling).fit()
    print({name: result.metrics[name] for name in ("train_loss", "validation_loss", "r2")})


if __name__ == "__main__":
    main()
