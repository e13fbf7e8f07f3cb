"""What people write for torchrun: state on a shared volume, loaded at the start, saved after each epoch by rank 0."""

import time
from pathlib import Path

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

STATE = Path("/state/state.pt")


def main() -> None:
    """Train until somebody ends it."""
    dist.init_process_group("gloo")
    x, y = load_digits(return_X_y=True)
    data = TensorDataset(torch.from_numpy(x / 16).float(), torch.from_numpy(y).long())
    sampler = DistributedSampler(data)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    first = 0
    if STATE.exists():
        state = torch.load(STATE, weights_only=True)
        model.module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"]
    for epoch in range(first, 400):
        sampler.set_epoch(epoch)
        for batch, labels in DataLoader(data, batch_size=16, sampler=sampler):
            loss = nn.functional.cross_entropy(model(batch), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if dist.get_rank() == 0:
            state = {"model": model.module.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
            torch.save(state, STATE.with_suffix(".new"))
            STATE.with_suffix(".new").replace(STATE)
            print(f"epoch {epoch + 1}", flush=True)
        time.sleep(1)


main()
