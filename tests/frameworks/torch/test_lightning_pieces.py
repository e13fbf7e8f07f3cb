"""Parts of `paceline.lightning` in this process, with both packages of Lightning. A run: test_lightning_digits."""

from __future__ import annotations

import copy
import importlib
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from paceline.lightning import (
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    LightningEnvironment,
    TrainReportCallback,
    prepare_trainer,
)
from paceline.lightning._package import with_base

BOTH = pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
QUIET = {"enable_checkpointing": False, "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


def trainer_of(pl: Any, **changes: Any) -> Any:
    """A Trainer as the guide has it; the name `pl` tells which package's, since both are imported here."""
    arguments: dict[str, Any] = {
        "devices": "auto",
        "accelerator": "auto",
        "strategy": DDPStrategy(),
        "plugins": [LightningEnvironment()],
        "callbacks": [TrainReportCallback()],
    }
    return pl.Trainer(**{**arguments, **QUIET, **changes})


@pytest.fixture
def third_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the second process of the second of two pods."""
    ranks = {"RANK": 3, "WORLD_SIZE": 4, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2, "NODE_RANK": 1}
    for name, value in {**ranks, "MASTER_ADDR": "pod-0", "MASTER_PORT": 4711}.items():
        monkeypatch.setenv(name, str(value))


@BOTH
def test_d5_each_package_gets_classes_of_its_own(package: str) -> None:
    pl = importlib.import_module(package)
    trainer = trainer_of(pl)
    assert prepare_trainer(trainer) is trainer
    assert isinstance(trainer.strategy, DDPStrategy)
    assert isinstance(trainer.strategy, pl.strategies.DDPStrategy)
    assert type(trainer.strategy).__name__ == "DDPStrategy"
    callback = next(c for c in trainer.callbacks if isinstance(c, TrainReportCallback))
    assert isinstance(callback, pl.Callback)
    assert (trainer.world_size, trainer.global_rank, trainer.num_devices, trainer.num_nodes) == (1, 0, 1, 1)
    assert trainer.strategy.launcher is None


@BOTH
@pytest.mark.usefixtures("third_of_four")
def test_d1_d2_ranks_devices_and_data_follow_the_run(package: str) -> None:
    pl = importlib.import_module(package)
    trainer = trainer_of(pl)  # devices="auto" is one on a CPU, num_nodes is one
    strategy, environment = trainer.strategy, trainer.strategy.cluster_environment
    assert (trainer.global_rank, trainer.local_rank, trainer.node_rank) == (3, 1, 1)
    assert (trainer.world_size, trainer.num_devices, trainer.num_nodes) == (4, 2, 2)
    assert strategy.distributed_sampler_kwargs == {"num_replicas": 4, "rank": 3}
    assert strategy.parallel_devices == [torch.device("cpu")] * 2
    assert strategy.root_device == torch.device("cpu")
    assert environment.creates_processes_externally
    assert (environment.main_address, environment.main_port) == ("pod-0", 4711)
    environment.set_world_size(9)
    environment.set_global_rank(9)
    assert (environment.world_size(), environment.global_rank()) == (4, 3)


@pytest.mark.usefixtures("third_of_four")
@pytest.mark.parametrize(("visible", "own"), [(2, 1), (4, 2)])
@pytest.mark.parametrize("given", [[0], [0, 1]])
def test_d5_each_process_of_a_pod_has_a_gpu_of_its_own(
    visible: int, own: int, given: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    import lightning.pytorch as pl  # noqa: F401 - names the package

    strategy = DDPStrategy()
    strategy.cluster_environment = LightningEnvironment()  # type: ignore[attr-defined]
    strategy.parallel_devices = [torch.device("cuda", index) for index in given]
    assert strategy.parallel_devices == [torch.device("cuda", 0), torch.device("cuda", own)]
    assert strategy.root_device == torch.device("cuda", own)
    assert strategy.determine_ddp_device_ids() == [own]  # type: ignore[attr-defined]


@BOTH
def test_d1_the_arguments_are_lightnings(package: str) -> None:
    pl = importlib.import_module(package)
    ddp: Any = DDPStrategy(process_group_backend="gloo", find_unused_parameters=True)
    assert (ddp.process_group_backend, ddp._ddp_kwargs) == ("gloo", {"find_unused_parameters": True})
    fsdp: Any = FSDPStrategy(sharding_strategy="SHARD_GRAD_OP", state_dict_type="sharded")
    assert isinstance(ddp, pl.strategies.DDPStrategy)
    assert isinstance(fsdp, pl.strategies.FSDPStrategy)
    assert (fsdp.sharding_strategy.name, fsdp._state_dict_type) == ("SHARD_GRAD_OP", "sharded")


@BOTH
def test_d1_sharded_strategies_refuse_the_cpu(package: str) -> None:
    pl = importlib.import_module(package)
    with pytest.raises(
        ValueError, match=r"^FSDPStrategy needs GPUs, and this Trainer runs on the CPU: use DDPStrategy"
    ):
        trainer_of(pl, strategy=FSDPStrategy())
    # As far as it goes where the package deepspeed is not installed.
    kind: Any = with_base(DeepSpeedStrategy, package)
    strategy = kind.__new__(kind)
    with pytest.raises(ValueError, match=r"^DeepSpeedStrategy needs GPUs, .*use_gpu=True"):
        strategy.accelerator = pl.accelerators.CPUAccelerator()
    if find_spec("deepspeed") is None:
        with pytest.raises(Exception, match="DeepSpeed"):
            DeepSpeedStrategy()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param(
            {"strategy": "auto"}, ["SingleDeviceStrategy", "strategy=paceline.lightning.DDPStrategy()"], id="no"
        ),
        pytest.param(
            {"strategy": "ddp"}, ["Lightning's DDPStrategy, which", "paceline.lightning.DDPStrategy()"], id="ddp"
        ),
        pytest.param(
            {"plugins": []},
            ["environment is Lightning's LightningEnvironment", "plugins=[paceline.lightning.LightningEnvironment()]"],
            id="no environment",
        ),
        pytest.param({"strategy": "ddp", "plugins": []}, ["DDPStrategy", "plugins=["], id="neither"),
    ],
)
def test_d4_prepare_trainer_says_what_is_wrong_and_what_to_write(changes: dict[str, Any], says: list[str]) -> None:
    import lightning.pytorch as pl

    with pytest.raises(RuntimeError, match=r"^prepare_trainer: ") as told:
        prepare_trainer(trainer_of(pl, **changes))
    assert all(part in str(told.value) for part in says), told.value
    with pytest.raises(TypeError, match="trainer is a str: pass a Trainer of Lightning"):
        prepare_trainer("trainer")


def test_d3_the_callback_may_be_a_base_and_be_copied() -> None:
    import lightning.pytorch as pl

    class Mine(TrainReportCallback):
        def __init__(self, every: int) -> None:
            super().__init__()
            self.every = every

    made = Mine(3)
    assert isinstance(made, pl.Callback)
    for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(TrainReportCallback()))):
        assert isinstance(again, TrainReportCallback)
        assert isinstance(again, pl.Callback)
    assert copy.deepcopy(made).every == 3


def test_d3_metrics_are_plain_numbers_and_a_plain_script_goes_on_without_an_agent(tmp_path: Path) -> None:
    import lightning.pytorch as pl

    reported = []

    class Mine(TrainReportCallback):
        def collect_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
            reported.append(super().collect_metrics(trainer, pl_module))
            return reported[-1]

    class Line(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            self.log("loss", (loss := self.layer(batch).square().mean()))
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val/loss", self.layer(batch).square().mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    loader = torch.utils.data.DataLoader(torch.rand(8, 2), batch_size=4)
    trainer = trainer_of(pl, callbacks=[Mine()], max_epochs=2, default_root_dir=tmp_path, log_every_n_steps=1)
    try:
        prepare_trainer(trainer).fit(Line(), loader, loader)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    assert [(m["epoch"], m["step"]) for m in reported] == [(0, 2), (1, 4)]
    assert all(type(m[name]) is float for m in reported for name in ("loss", "val/loss"))
