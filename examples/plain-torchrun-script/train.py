"""A distributed training script as it is written for torchrun. It knows nothing of Paceline:

torchrun --nproc-per-node 2 train.py
"""

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

EPOCHS = 10


def main() -> None:
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")  # reads RANK, WORLD_SIZE, MASTER_ADDR ...
    rank = dist.get_rank()
    device = torch.device(f"cuda:{rank % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)

    x, y = load_digits(return_X_y=True)
    data = TensorDataset(torch.from_numpy(x / 16).float(), torch.from_numpy(y).long())
    sampler = DistributedSampler(data)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(device))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        for batch, labels in DataLoader(data, batch_size=32, sampler=sampler):
            loss = nn.functional.cross_entropy(model(batch.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        mean = loss.detach() / dist.get_world_size()
        dist.all_reduce(mean)
        if rank == 0:
            print(f"epoch {epoch + 1}/{EPOCHS}  loss {mean.item():.4f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
