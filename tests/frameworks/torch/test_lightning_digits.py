"""The Lightning example with two real workers by `fit()`, where one is killed half way.

The same script as the command of a job of two pods, with a kill too: e2e/test_failures.py.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from paceline.torch import TorchTrainer
from paceline.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig

EXAMPLE = Path(__file__).parents[3] / "examples" / "lightning-digits"
TIMEOUT_S = 600  # four processes that import Lightning, on two cores that others may use too
pytestmark = pytest.mark.timeout(TIMEOUT_S)
EPOCHS, KILLED_IN = 5, 2
STEPS = 45  # of an epoch: 1,437 samples, two ranks, batches of 16


def killed_once(config: dict[str, Any]) -> None:
    """The example's own function, in which the second worker's first process is killed.

    Each rank adds a file to what is saved, as a sharded strategy does.
    """
    sys.path.insert(0, config["example"])
    example: Any = importlib.import_module("train")

    def on_train_epoch_start(module: Any) -> None:
        if os.environ["RANK"] == "1" and os.environ["PACELINE_ATTEMPT"] == "0" and module.current_epoch == KILLED_IN:
            os.kill(os.getpid(), signal.SIGKILL)

    class InParts(example.TrainReportCallback):  # type: ignore[misc]
        def save(self, trainer: Any, pl_module: Any, directory: Any) -> None:
            super().save(trainer, pl_module, directory)
            Path(directory, f"part-{trainer.global_rank}").write_text(str(trainer.global_step))

    example.TrainReportCallback = InParts
    example.DigitsClassifier.on_train_epoch_start = on_train_epoch_start
    example.train_fn(config)


def test_d2_d3_g1_lightning_goes_on_from_its_checkpoint_after_a_worker_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    trainer = TorchTrainer(
        killed_once,
        train_loop_config={"example": str(EXAMPLE), "epochs": EPOCHS, "batch_size": 16, "lr": 5e-3},
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(
            name="digits",
            storage_path=str(tmp_path / "runs"),
            failure_config=FailureConfig(max_failures=1),
            checkpoint_config=CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="accuracy"),
        ),
    )
    result = trainer.fit()

    frame = result.metrics_dataframe
    assert frame is not None
    told = list(zip(frame["attempt"], frame["epoch"], frame["step"], strict=True))
    first = [(0, epoch, STEPS * (epoch + 1)) for epoch in range(KILLED_IN)]
    then = [(1, epoch, STEPS * (epoch + 1)) for epoch in range(KILLED_IN, EPOCHS)]
    assert told == first + then
    assert result.metrics is not None
    assert result.metrics["accuracy"] > 0.8
    assert result.checkpoint is not None
    with result.checkpoint.as_directory() as folder:
        files = {path.name: path for path in Path(folder).iterdir() if not path.name.startswith(".")}
        assert sorted(files) == ["checkpoint.ckpt", "part-0", "part-1"]
        steps = {int(files[f"part-{rank}"].read_text()) for rank in (0, 1)}
        assert len(steps) == 1, "both ranks are of one step"
        assert steps <= {STEPS * (epoch + 1) for epoch in range(EPOCHS)}
    assert list((tmp_path / "tmp").glob("paceline-lightning-*")) == []
