"""Train a small network on handwritten digits, on any number of processes, with or without GPUs.

It runs as a TrainJob, under torchrun, and as plain `python train.py`. As a TrainJob it goes on from its last committed
checkpoint after a restart.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from paceline import train

STATE = "state.pt"


def main() -> None:
    args = parse_args()
    device = start_process_group()
    torch.manual_seed(0)
    train_set, validation_set = load_data(args.data)
    model = DistributedDataParallel(build_model().to(device))
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    first_epoch, step = resume(model, optimizer, device)

    sampler = DistributedSampler(train_set, shuffle=True)
    loader = DataLoader(train_set, batch_size=args.batch_size, sampler=sampler)
    for epoch in range(first_epoch, args.epochs):
        sampler.set_epoch(epoch)  # another order in each epoch, the same after a restart
        loss = train_epoch(model, loader, optimizer, device)
        step += len(loader)
        accuracy = evaluate(model.module, validation_set, device)
        metrics = {"epoch": epoch + 1, "step": step, "loss": loss, "accuracy": accuracy}
        report(metrics, model, optimizer)
        if dist.get_rank() == 0:
            print(f"epoch {epoch + 1}/{args.epochs}  step {step}  loss {loss:.4f}  accuracy {accuracy:.4f}", flush=True)
        time.sleep(args.pause_seconds)
    dist.destroy_process_group()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", default="digits", help="'digits' or a .npz file with the arrays x and y")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=16, help="samples per process and step")
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--pause-seconds", type=float, default=0.0, help="sleep after each epoch: time to break things")
    return parser.parse_args()


def start_process_group() -> torch.device:
    """Join the other processes; alone when nobody has set a rank."""
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    if backend == "gloo":
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the digits that scikit-learn brings (8 x 8 pixels each) and their labels.

    Read without its import, which takes seconds, in every worker at every start.
    """
    (sklearn,) = find_spec("sklearn").submodule_search_locations
    rows = np.loadtxt(Path(sklearn) / "datasets/data/digits.csv.gz", delimiter=",")
    return rows[:, :-1], rows[:, -1].astype(np.int64)


def load_data(source: str) -> tuple[TensorDataset, TensorDataset]:
    """Return training and validation set: a fifth is kept for validation, the same on every rank."""
    if source == "digits":
        x, y = load_digits()
    else:
        with np.load(source) as file:
            x, y = file["x"], file["y"]
    x, y = torch.from_numpy((x / x.max()).astype("float32")), torch.from_numpy(y).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    validation, training = order.split([len(x) // 5, len(x) - len(x) // 5])
    return TensorDataset(x[training], y[training]), TensorDataset(x[validation], y[validation])


def build_model() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, 10))


def train_epoch(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer, device: torch.device) -> float:
    """Go once over this rank's share; return the mean loss of all ranks."""
    model.train()
    total = torch.zeros(2, device=device)  # sum of losses, samples
    for x, y in loader:
        loss = nn.functional.cross_entropy(model(x.to(device)), y.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += torch.stack([loss.detach() * len(y), torch.tensor(float(len(y)), device=device)])
    dist.all_reduce(total)
    return (total[0] / total[1]).item()


@torch.no_grad()
def evaluate(model: nn.Module, data: TensorDataset, device: torch.device) -> float:
    """Return the accuracy on all of `data`; each rank looks at its share, no sample counts twice."""
    model.eval()
    x, y = (tensor[dist.get_rank() :: dist.get_world_size()].to(device) for tensor in data.tensors)
    counts = torch.stack([(model(x).argmax(dim=1) == y).sum(), torch.tensor(len(y), device=device)])
    dist.all_reduce(counts)
    return (counts[0] / counts[1]).item()


def report(metrics: dict[str, float], model: DistributedDataParallel, optimizer: torch.optim.Optimizer) -> None:
    """Every rank reports; rank 0 also gives the checkpoint. What was handed over may be deleted at once."""
    if dist.get_rank() != 0:
        train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        state = {"model": model.module.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state | {"epoch": metrics["epoch"], "step": metrics["step"]}, Path(folder, STATE))
        train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder))


def resume(model: DistributedDataParallel, optimizer: torch.optim.Optimizer, device: torch.device) -> tuple[int, int]:
    """Load the latest committed checkpoint, if there is one; return the epoch to begin with and the steps so far."""
    checkpoint = train.get_checkpoint()
    if checkpoint is None:
        return 0, 0
    with checkpoint.as_directory() as folder:
        state = torch.load(Path(folder, STATE), map_location=device, weights_only=True)
    model.module.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    print(f"rank {dist.get_rank()} resumes after epoch {state['epoch']}, step {state['step']}", flush=True)
    return state["epoch"], state["step"]


if __name__ == "__main__":
    main()
