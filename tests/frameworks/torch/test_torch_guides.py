"""The Python of the guides runs: the blocks of a page one after another, as a reader would type them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from paceline import train
from paceline.train import RunConfig
from paceline.trainer import Trainer
from tests.support import docs

pytestmark = pytest.mark.timeout(600)  # processes that import torch, on two cores that others may use too


def run(blocks: list[str], **names: Any) -> dict[str, Any]:
    """Names that the blocks leave behind."""
    assert blocks
    exec(compile("\n".join(blocks), "guide.md", "exec"), names)
    return names


def test_the_pytorch_guide_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACELINE_STORAGE", str(tmp_path))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        found = run(docs.python("docs/guides/pytorch.md"), __name__="__main__")
    finally:
        torch.use_deterministic_algorithms(False)
    assert found["result"].metrics["epoch"] == 1
    assert f"{found['result'].metrics['loss']}\n" in capsys.readouterr().out


def test_what_the_readme_and_the_page_about_checkpoints_show_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Their loops in this process, which has torch already, also from a checkpoint. Then the README's trainer."""
    monkeypatch.setenv("PACELINE_STORAGE", str(tmp_path))
    report, trainer = docs.own_python("README.md")
    (resume,) = docs.own_python("docs/guides/checkpoints-and-storage.md")
    epochs = iter((2, 3))
    began: list[int] = []

    def loop() -> None:
        torch.manual_seed(len(began))
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.Adam(model.parameters())
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 2}
        found: dict[str, Any] = {}
        names: dict[str, Any] = {"model": model, "optimizer": optimizer, "state": state, "metrics": {"loss": 0.5}}
        exec(resume, {**names, "device": "cpu", "rank": 0, "epochs": next(epochs)}, found)
        began.append(found["first_epoch"])
        weights.append(model.weight.detach().clone())

    def last_report() -> None:
        exec(report, {"step": 7, "accuracy": 0.5, "folder": str(tmp_path / "saved")})

    weights: list[torch.Tensor] = []
    first = Trainer(loop, run_config=RunConfig(name="first")).fit(in_process=True)
    Trainer(loop, run_config=RunConfig(name="second"), resume_from_checkpoint=first.checkpoint).fit(in_process=True)
    assert began == [0, 2]
    assert torch.equal(*weights), "the second has the first's weights, not those of its own seed"

    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/state").touch()
    third = Trainer(last_report, run_config=RunConfig(name="third")).fit(in_process=True)
    assert third.metrics is not None
    assert third.metrics["step"] == 7
    assert third.checkpoint is not None

    def train_fn(config: dict[str, Any]) -> None:
        train.report({"lr": config["lr"], "ranks": torch.distributed.get_world_size()})

    result = run([trainer], train_fn=train_fn)["result"]
    assert (result.metrics["lr"], result.metrics["ranks"]) == (0.01, 2)


def test_the_lightning_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning.pytorch as pl

    monkeypatch.chdir(tmp_path)  # where Lightning's own files go

    class Line(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            return self.layer(batch).square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    reported: list[dict[str, Any]] = []
    monkeypatch.setattr("paceline.train.report", lambda metrics, checkpoint=None: reported.append(dict(metrics)))
    data = torch.utils.data.DataLoader(torch.rand(8, 2), batch_size=4)
    try:
        run(docs.python("docs/guides/lightning.md"), model=Line(), data=data, __name__="guide")
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    assert [(m["epoch"], m["step"], m["lr"]) for m in reported] == [(1, 4, 0.1), (3, 8, 0.1)]
