"""The trainings that all launchers run, the same code for each: digits by DDP on two processes. Needs torch alone.

torchrun --nproc-per-node 2 benchmarks/local/training.py CONFIG.json
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def empty(config: dict[str, Any]) -> None:
    """Do nothing."""


def digits(config: dict[str, Any]) -> None:
    """Train on scikit-learn's digits; rank 0 writes when its first step was done, in seconds since the epoch.

    Args:
        config: `epochs`, `batch_size` and `first_step`, the file to write.
    """
    import torch
    import torch.distributed as dist
    from sklearn.datasets import load_digits
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

    alone = not dist.is_initialized()
    if alone:
        dist.init_process_group("gloo")
    torch.manual_seed(0)
    x, y = load_digits(return_X_y=True)
    data = TensorDataset(torch.from_numpy((x / 16).astype("float32")), torch.from_numpy(y).long())
    model = DistributedDataParallel(
        torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    sampler = DistributedSampler(data, shuffle=True)
    loader = DataLoader(data, batch_size=config["batch_size"], sampler=sampler)
    told = False
    for epoch in range(config["epochs"]):
        sampler.set_epoch(epoch)
        for batch, labels in loader:
            loss = torch.nn.functional.cross_entropy(model(batch), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if not told and dist.get_rank() == 0:
                Path(config["first_step"]).write_text(str(time.time()))
            told = True
    correct = torch.stack([(model(batch).argmax(dim=1) == labels).float().mean() for batch, labels in loader]).mean()
    if alone:
        dist.destroy_process_group()
    if correct < 0.9:
        raise RuntimeError(f"the training learned nothing: accuracy {correct:.2f}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    digits(json.loads(Path(sys.argv[1]).read_text()))
