"""The Python of the guides runs: the blocks of a page one after another, as a reader would type them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.timeout(600)  # processes that import torch, on two cores that others may use too
GUIDES = Path(__file__).parents[3] / "docs" / "guides"


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (GUIDES / page).read_text(), re.MULTILINE | re.DOTALL)


def run(page: str, **names: Any) -> dict[str, Any]:
    """Names that the blocks leave behind."""
    code = "\n".join(blocks(page))
    assert code
    exec(compile(code, page, "exec"), names)
    return names


def test_the_pytorch_guide_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACELINE_STORAGE", str(tmp_path))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        found = run("pytorch.md", __name__="__main__")
    finally:
        torch.use_deterministic_algorithms(False)
    assert found["result"].metrics["epoch"] == 1
    assert f"{found['result'].metrics['loss']}\n" in capsys.readouterr().out


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
        run("lightning.md", model=Line(), data=data, __name__="guide")
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    assert [(m["epoch"], m["step"], m["lr"]) for m in reported] == [(1, 4, 0.1), (3, 8, 0.1)]
