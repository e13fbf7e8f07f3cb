"""Train a small network on a dataset in Parquet files, each worker on its part, without ever loading it whole.

    python prepare.py /tmp/digits
    python train.py /tmp/digits --workers 2

In the workers of a TrainJob `fit()` trains as the rank that the job gave them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from paceline import train
from paceline.storage import join
from paceline.torch import TorchTrainer, get_device, prepare_model
from paceline.train import DataConfig, FailureConfig, RunConfig, ScalingConfig

STATE = "state.pt"


def train_fn(config: dict[str, Any]) -> None:
    """What every worker does. The process group exists already."""
    torch.manual_seed(0)
    train_shard, validation_shard = train.get_dataset_shard("train"), train.get_dataset_shard("validation")
    model = prepare_model(nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)))
    optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"])
    first_epoch = resume(model, optimizer)
    batches = train_shard.iter_torch_batches(batch_size=config["batch_size"], shuffle_buffer_size=500)
    validation_batches = validation_shard.iter_torch_batches(batch_size=256)

    for epoch in range(first_epoch, config["epochs"]):
        train_shard.set_epoch(epoch)  # another order in each epoch, the same after a restart
        model.train()
        for batch in batches:
            loss = nn.functional.cross_entropy(model(batch["image"]), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        accuracy = evaluate(model, validation_batches)
        step = (epoch + 1) * len(batches)
        report({"epoch": epoch + 1, "step": step, "loss": loss.item(), "accuracy": accuracy}, model, optimizer)


@torch.no_grad()
def evaluate(model: nn.Module, batches: Any) -> float:
    """Return the accuracy over all ranks."""
    model.eval()
    counts = torch.zeros(2, device=get_device())  # right ones, images
    for batch in batches:
        right = (plain(model)(batch["image"]).argmax(dim=1) == batch["label"]).sum()
        counts += torch.stack([right, torch.tensor(len(batch["label"]), device=counts.device)])
    dist.all_reduce(counts)
    return (counts[0] / counts[1]).item()


def report(metrics: dict[str, float], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Every rank reports; rank 0 also gives the checkpoint. What was handed over may be deleted at once."""
    if train.get_context().get_world_rank() != 0:
        train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        state = {"model": plain(model).state_dict(), "optimizer": optimizer.state_dict(), "epoch": metrics["epoch"]}
        torch.save(state, Path(folder, STATE))
        train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder))


def resume(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the latest checkpoint, if there is one; return the epoch to begin with."""
    checkpoint = train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        state = torch.load(Path(folder, STATE), map_location=get_device(), weights_only=True)
    plain(model).load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"])


def plain(model: nn.Module) -> nn.Module:
    """The model itself: with several workers prepare_model has wrapped it."""
    return getattr(model, "module", model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="what prepare.py wrote: a directory or a URI")
    parser.add_argument("--workers", type=int, default=2, help="processes on this machine")
    parser.add_argument("--use-gpu", action="store_true", help="a GPU for each worker")
    parser.add_argument("--max-failures", type=int, default=0, help="restarts from the last checkpoint")
    parser.add_argument("--storage-path", help="a directory or a URI; default ~/paceline_results")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=16, help="images per worker and step")
    parser.add_argument("--lr", type=float, default=5e-3)
    args = parser.parse_args()
    config = {"epochs": args.epochs, "batch_size": args.batch_size, "lr": args.lr}
    datasets = {"train": join(args.data, "train", "*.parquet"), "validation": join(args.data, "validation")}
    dataset_config = DataConfig(shuffle=["train"], seed=1)
    trainer = TorchTrainer(
        train_fn,
        train_loop_config=config,
        datasets=datasets,
        dataset_config=dataset_config,
        scaling_config=ScalingConfig(num_workers=args.workers, use_gpu=args.use_gpu),
        run_config=RunConfig(
            storage_path=args.storage_path, failure_config=FailureConfig(max_failures=args.max_failures)
        ),
    )
    result = trainer.fit()
    print(f"accuracy {result.metrics['accuracy']:.4f}; the model is in {result.checkpoint.path}")


if __name__ == "__main__":
    main()
