"""Two real workers by `TorchTrainer.fit()`: the group, each rank's data, gradients, FSDP2, and metrics of all ranks."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from sklearn.metrics import r2_score
from torch import nn

from paceline.torch import TorchConfig, TorchTrainer
from paceline.train import Result, RunConfig, ScalingConfig

EXAMPLES = Path(__file__).parents[3] / "examples"
WORLD = 2
pytestmark = pytest.mark.timeout(600)  # two processes that import torch, on two cores that others may use too
EPOCHS, DIGITS_EPOCHS = 8, 4


def example(name: str) -> ModuleType:
    """The script of an example, imported."""
    sys.modules.pop("train", None)
    sys.path.insert(0, str(EXAMPLES / name))
    try:
        return importlib.import_module("train")
    finally:
        sys.path.remove(str(EXAMPLES / name))


def everything(config: dict[str, Any]) -> None:
    """One start of two processes for all that is looked at below."""
    import torch.distributed as dist

    from paceline import train

    found = {"group": _group(), "shares": _shares(), "ddp": _ddp(), "fsdp": _fsdp()}
    of_all: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(of_all, found)
    train.report({"found": of_all})
    config["digits_example"]({"epochs": DIGITS_EPOCHS, "batch_size": 16, "lr": 5e-3})
    config["metrics_example"]({"epochs": EPOCHS})
    dist.destroy_process_group()  # the session's end finds none


def _group() -> dict[str, Any]:
    import os

    import torch.distributed as dist

    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "OMP_NUM_THREADS")
    threads = ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "GOTO_NUM_THREADS")
    return {
        "env": {name: os.environ[name] for name in names},
        "port": os.environ["MASTER_PORT"].isdigit(),
        "other threads": [name for name in threads if name in os.environ],
        "rank": [dist.get_rank(), dist.get_world_size(), dist.get_backend()],
        "timeout": dist.group.WORLD._get_backend(torch.device("cpu")).options._timeout.total_seconds(),
    }


def _shares() -> dict[str, Any]:
    """The samples that this rank sees, in two epochs, and in one with `drop_last`."""
    from torch.utils.data import DataLoader, TensorDataset

    from paceline.torch import prepare_data_loader

    def epoch(loader: Any) -> list[list[int]]:
        return [batch.tolist() for (batch,) in loader]

    data = TensorDataset(torch.arange(23))
    shuffled = prepare_data_loader(DataLoader(data, batch_size=4, shuffle=True))
    in_order = prepare_data_loader(DataLoader(data, batch_size=4, drop_last=True))
    return {"shuffled": [epoch(shuffled), epoch(shuffled)], "in order": epoch(in_order)}


def _model() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))


def _ddp() -> dict[str, Any]:
    """How far the gradients are from those of one process that has the batches of all ranks."""
    import torch.distributed as dist
    from sklearn.datasets import load_digits
    from torch.utils.data import DataLoader, TensorDataset

    from paceline.torch import prepare_data_loader, prepare_model

    x, y = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
    loader = prepare_data_loader(DataLoader(TensorDataset(x.float() / 16, y), batch_size=32, shuffle=True))
    torch.manual_seed(dist.get_rank())  # other weights on each rank: rank 0's count
    model = prepare_model(_model())
    batch = next(iter(loader))
    nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
    return {"kind": type(model).__name__, "samples": len(batch[1]), "off": _off(model.module, batch)}


def _fsdp() -> dict[str, Any]:
    import tempfile

    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict

    from paceline import train
    from paceline.torch import prepare_model

    torch.manual_seed(0)
    plain, rank = _model(), dist.get_rank()
    torch.manual_seed(0)
    given = _model()
    options = {"shard_classes": nn.Linear, "reshard_after_forward": True}
    model = prepare_model(given, parallel_strategy="fsdp", parallel_strategy_kwargs=options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(rank)
    batch = torch.rand(16, 64, generator=generator), torch.randint(10, (16,), generator=generator)
    loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
    loss.backward()
    weight = model[0].weight
    found = {
        "same object": model is given,
        "own units": [hasattr(layer, "unshard") for layer in model],
        "rows": [weight.to_local().shape[0], weight.shape[0]],
        "loss off": (loss - nn.functional.cross_entropy(plain(batch[0]), batch[1])).abs().item(),
        "off": _off(model, batch, plain),
    }
    optimizer.step()
    weights, moments = get_state_dict(model, optimizer)
    with tempfile.TemporaryDirectory() as folder:  # another one on each rank
        dcp.save({"model": weights, "optimizer": moments}, checkpoint_id=folder)
        train.report({"sharded": True}, checkpoint=train.Checkpoint.from_directory(folder))
    found["weight"] = weight.full_tensor().tolist()
    return found


def _off(model: nn.Module, batch: Any, plain: nn.Module | None = None) -> float:
    import torch.distributed as dist

    if plain is None:
        plain = _model()
        plain.load_state_dict(model.state_dict())
    batches: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(batches, batch)
    x, y = (torch.cat([part[i] for part in batches]) for i in (0, 1))
    nn.functional.cross_entropy(plain(x), y).backward()
    gradients = [getattr(p.grad, "full_tensor", lambda p=p: p.grad)() for p in model.parameters()]
    return max(float((a - b.grad).abs().max()) for a, b in zip(gradients, plain.parameters(), strict=True))


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    trainer = TorchTrainer(
        everything,
        train_loop_config={
            "digits_example": example("torch-trainer").train_fn,
            "metrics_example": example("torchmetrics").train_fn,
        },
        torch_config=TorchConfig(timeout_s=77),
        scaling_config=ScalingConfig(num_workers=WORLD),
        run_config=RunConfig(name="ranks", storage_path=str(tmp_path_factory.mktemp("runs"))),
    )
    return trainer.fit()


@pytest.fixture(scope="module")
def ranks(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = result.metrics_dataframe["found"].dropna().iloc[0]  # type: ignore[index]
    return found


def test_a4_each_worker_is_a_rank_of_one_group(ranks: list[dict[str, Any]]) -> None:
    for rank, group in enumerate(found["group"] for found in ranks):
        assert group["rank"] == [rank, WORLD, "gloo"]
        env = group["env"]
        assert (env["RANK"], env["LOCAL_RANK"], env["NODE_RANK"]) == (str(rank), str(rank), "0")
        assert (env["WORLD_SIZE"], env["LOCAL_WORLD_SIZE"]) == ("2", "2")
        assert env["MASTER_ADDR"] == "127.0.0.1"
        assert group["port"]
        assert group["timeout"] == 77


def test_a6_threads_are_those_of_the_workers_cpus(ranks: list[dict[str, Any]]) -> None:
    import os

    wanted = os.environ.get("OMP_NUM_THREADS") or str(max(1, len(os.sched_getaffinity(0)) // WORLD))
    for found in ranks:
        assert found["group"]["env"]["OMP_NUM_THREADS"] == wanted
        assert found["group"]["other threads"] == [
            name for name in ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name in os.environ
        ]


def test_a4_the_loader_gives_each_rank_its_own_share(ranks: list[dict[str, Any]]) -> None:
    shuffled = [found["shares"]["shuffled"] for found in ranks]
    for epoch in (0, 1):
        seen = [sorted(number for batch in rank[epoch] for number in batch) for rank in shuffled]
        assert [len(numbers) for numbers in seen] == [12, 12]
        # 23 samples for two ranks: one is seen twice, none is missing.
        assert set(seen[0]) | set(seen[1]) == set(range(23))
        assert len(set(seen[0]) & set(seen[1])) <= 1
    assert shuffled[0][0] != shuffled[0][1]

    in_order = [found["shares"]["in order"] for found in ranks]
    assert in_order == [[[0, 2, 4, 6], [8, 10, 12, 14]], [[1, 3, 5, 7], [9, 11, 13, 15]]]


def test_a4_ddp_averages_the_gradients_of_all_ranks(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        assert found["ddp"]["kind"] == "DistributedDataParallel"
        assert found["ddp"]["samples"] == 32
        assert found["ddp"]["off"] < 1e-6


def test_a4_fsdp2_shards_parameters_and_reduces_the_same_gradients(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        fsdp = found["fsdp"]
        assert fsdp["same object"]
        assert fsdp["own units"] == [True, False, True]
        assert fsdp["rows"] == [4, 8]
        assert fsdp["loss off"] < 1e-6
        assert fsdp["off"] < 1e-6


def test_b7_the_parts_of_a_sharded_model_are_one_checkpoint(result: Result, ranks: list[dict[str, Any]]) -> None:
    import torch.distributed.checkpoint as dcp

    checkpoint = next(checkpoint for checkpoint, metrics in result.best_checkpoints if metrics.get("sharded"))
    model = _model()
    weights = {"model": model.state_dict()}
    with checkpoint.as_directory() as folder:
        assert {".metadata", "__0_0.distcp", "__1_0.distcp"} <= {path.name for path in Path(folder).iterdir()}
        dcp.load(weights, checkpoint_id=folder, no_dist=True)
    wanted = [found["fsdp"]["weight"] for found in ranks]
    assert weights["model"]["0.weight"].tolist() == wanted[0] == wanted[1]


def test_a1_the_digits_example_learns(result: Result) -> None:
    """Its `main()` is that of examples/parquet-datasets, which test_data_torch.py runs."""
    frame = result.metrics_dataframe
    assert frame is not None
    digits = frame.dropna(subset=["accuracy"])
    assert list(digits["epoch"]) == list(range(1, DIGITS_EPOCHS + 1))
    assert digits["step"].iloc[-1] == DIGITS_EPOCHS * 45  # 1,437 samples, two ranks, batches of 16
    assert digits["accuracy"].iloc[-1] > 0.8
    (checkpoint,) = [c for c, metrics in result.best_checkpoints if metrics.get("step") == DIGITS_EPOCHS * 45]
    script = example("torch-trainer")
    model = script.build_model().eval()
    with checkpoint.as_directory() as folder:
        model.load_state_dict(torch.load(Path(folder, script.STATE), weights_only=True)["model"])
    x, y = script.load_data()[1].tensors
    with torch.no_grad():
        assert (model(x).argmax(dim=1) == y).float().mean().item() == pytest.approx(digits["accuracy"].iloc[-1], 0.02)


def test_b3_torchmetrics_adds_up_all_ranks_and_rank_0_reports(result: Result) -> None:
    """The reported R2 is that of all validation samples, computed here anew from the checkpoint."""
    metrics = result.metrics
    assert metrics is not None
    assert result.checkpoint is not None
    script = example("torchmetrics")
    model = script.build_model()
    with result.checkpoint.as_directory() as folder:
        model.load_state_dict(torch.load(Path(folder, "model.pt"), weights_only=True))
    x, y = script.load_data()[1].tensors
    with torch.no_grad():
        predicted = model(x)
    assert metrics["epoch"] == EPOCHS
    assert metrics["r2"] == pytest.approx(r2_score(y, predicted), abs=1e-4)
    assert metrics["validation_loss"] == pytest.approx(nn.functional.mse_loss(predicted, y).item(), abs=1e-4)
    assert metrics["r2"] > 0.2
    # Not what one rank would have seen.
    shares = [r2_score(y[rank::WORLD], predicted[rank::WORLD]) for rank in range(WORLD)]
    assert all(abs(metrics["r2"] - share) > 1e-3 for share in shares)
