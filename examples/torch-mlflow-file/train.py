"""Train a small network on handwritten digits and keep its record in an MLflow store of files, without any server.

    python train.py --workers 2 --mlflow-dir /tmp/mlflow && mlflow ui --backend-store-uri sqlite:////tmp/mlflow/mlflow.db

MLflow is used as in any script, on rank 0 alone. Its run carries the id of the training run as a tag, and a later
attempt looks for that: after a restart the curves go on.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from paceline import train
from paceline.torch import TorchTrainer, get_device, prepare_data_loader, prepare_model
from paceline.train import FailureConfig, RunConfig, ScalingConfig

STATE = "state.pt"
RUN_ID_TAG = "paceline.run_id"


@contextlib.contextmanager
def mlflow_run(config: dict[str, Any]) -> Iterator[Any]:
    """`mlflow` with a run on rank 0, None on the others. The run ends with the block, as FAILED when it raised."""
    context = train.get_context()
    if context.get_world_rank() != 0:
        yield None
        return
    import mlflow  # here, so that the other ranks need not import it

    store = Path(config["mlflow_dir"])
    store.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
    if mlflow.get_experiment_by_name(config["experiment"]) is None:
        # MLflow's own default for artifacts is the working directory, which goes with the pod.
        mlflow.create_experiment(config["experiment"], artifact_location=(store / "artifacts").as_uri())
    experiment = mlflow.set_experiment(config["experiment"])
    run_id = context.get_trial_id()  # the same in every attempt; MLflow chooses the ids of its runs itself
    found = mlflow.MlflowClient().search_runs([experiment.experiment_id], f"tags.`{RUN_ID_TAG}` = '{run_id}'")
    if found:
        begun = mlflow.start_run(run_id=found[0].info.run_id)
    else:
        begun = mlflow.start_run(run_name=context.get_experiment_name(), tags={RUN_ID_TAG: run_id})
        mlflow.log_params({**config, "checkpoints": context.get_trial_dir()})
    with begun:
        yield mlflow


def train_fn(config: dict[str, Any]) -> None:
    """What every worker does. The process group exists already."""
    with mlflow_run(config) as mlflow:
        torch.manual_seed(0)
        train_set, validation_set = load_data()
        loader = prepare_data_loader(DataLoader(train_set, batch_size=config["batch_size"], shuffle=True))
        validation_loader = prepare_data_loader(DataLoader(validation_set, batch_size=256))
        model = prepare_model(nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 10)))
        optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"])

        first_epoch = resume(model, optimizer)
        for epoch in range(first_epoch, config["epochs"]):
            if isinstance(loader.sampler, DistributedSampler):  # with one worker it is a plain one
                loader.sampler.set_epoch(epoch)
            loss = train_epoch(model, loader, optimizer)
            metrics = {"epoch": epoch + 1, "loss": loss, "accuracy": evaluate(model, validation_loader)}
            if mlflow is not None:
                mlflow.log_metrics(metrics, step=epoch + 1)
            report(metrics, model, optimizer)


def train_epoch(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer) -> float:
    """Go once over this rank's share; return the mean loss of all ranks."""
    model.train()
    total = torch.zeros(2, device=get_device())  # sum of losses, samples
    for x, y in loader:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += torch.stack([loss.detach() * len(y), torch.tensor(float(len(y)), device=total.device)])
    dist.all_reduce(total)
    return (total[0] / total[1]).item()


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader) -> float:
    """Return the accuracy over all ranks."""
    model.eval()
    counts = torch.zeros(2, device=get_device())  # right ones, samples
    for x, y in loader:
        right = (plain(model)(x).argmax(dim=1) == y).sum()
        counts += torch.stack([right, torch.tensor(len(y), device=counts.device)])
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


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the digits that scikit-learn brings (8 x 8 pixels each) and their labels.

    Read without its import, which takes seconds, in every worker at every start.
    """
    (sklearn,) = find_spec("sklearn").submodule_search_locations
    rows = np.loadtxt(Path(sklearn) / "datasets/data/digits.csv.gz", delimiter=",")
    return rows[:, :-1], rows[:, -1].astype(np.int64)


def load_data() -> tuple[TensorDataset, TensorDataset]:
    """Return training and validation set: a fifth is kept for validation, the same on every rank."""
    x, y = load_digits()
    x, y = torch.from_numpy((x / x.max()).astype("float32")), torch.from_numpy(y).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    validation, training = order.split([len(x) // 5, len(x) - len(x) // 5])
    return TensorDataset(x[training], y[training]), TensorDataset(x[validation], y[validation])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="processes on this machine")
    parser.add_argument("--max-failures", type=int, default=0, help="restarts from the last checkpoint")
    parser.add_argument("--storage-path", help="a directory or a URI; default ~/paceline_results")
    parser.add_argument("--experiment", default="digits", help="experiment in MLflow")
    parser.add_argument("--mlflow-dir", default="mlflow", help="MLflow's store: a directory that outlives the workers")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=16, help="samples per worker and step")
    parser.add_argument("--lr", type=float, default=5e-3)
    args = parser.parse_args()
    config = {name: getattr(args, name) for name in ("experiment", "epochs", "batch_size", "lr")}
    # Workers have a working directory of their own.
    config["mlflow_dir"] = str(Path(args.mlflow_dir).absolute())
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
