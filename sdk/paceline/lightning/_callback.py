"""`TrainReportCallback`: metrics and a checkpoint at the end of each epoch."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from paceline import _contract as c
from paceline import train
from paceline.lightning._package import Late


class TrainReportCallback(Late):
    """Reports at the end of each training epoch: the logged metrics, `epoch` and `step`, and a checkpoint.

    The checkpoint is what `trainer.save_checkpoint` writes, under the name `checkpoint.ckpt`: one file, or with a
    sharded strategy a directory to which every rank adds. To go on from it:

        checkpoint = train.get_checkpoint()
        if checkpoint is None:
            trainer.fit(model, loader)
        else:
            with checkpoint.as_directory() as folder:
                trainer.fit(model, loader, ckpt_path=os.path.join(folder, "checkpoint.ckpt"))

    Make a subclass to change what is reported (`collect_metrics`), what is saved (`save`), or when (the hooks of a
    Lightning `Callback`; `report` does it).
    """

    CHECKPOINT_NAME: ClassVar[str] = "checkpoint.ckpt"

    _base: ClassVar[str] = "callbacks.Callback"

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Report."""
        self.report(trainer, pl_module)

    def collect_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
        """What is reported: all that was logged, as plain numbers, the epoch (from 0) and the optimizer's steps."""
        logged = {name: _plain(value) for name, value in trainer.callback_metrics.items()}
        return {**logged, "epoch": trainer.current_epoch, "step": trainer.global_step}

    def save(self, trainer: Any, pl_module: Any, directory: str) -> None:
        """Write the files of a checkpoint. Called on every rank.

        Args:
            directory: Empty before; the same for all ranks of a pod, and of the same name in every pod.
        """
        trainer.save_checkpoint(os.path.join(directory, self.CHECKPOINT_NAME))  # noqa: PTH118 - a URL stays one

    def report(self, trainer: Any, pl_module: Any) -> None:
        """Report metrics and checkpoint. Call it on every rank, equally often."""
        metrics = self.collect_metrics(trainer, pl_module)
        if not os.environ.get(c.AGENT_SOCKET):
            train.report(metrics)  # checked alone: nobody would store a checkpoint
            return
        first = train.get_context().get_local_rank() == 0
        own = _own_directory() / f"epoch-{trainer.current_epoch}-step-{trainer.global_step}"
        # A sharded strategy lets rank 0 say where every rank writes.
        directory = Path(trainer.strategy.broadcast(str(own)))
        if first:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True, exist_ok=True)  # pods on one machine have it in common
        trainer.strategy.barrier("paceline: directory")
        self.save(trainer, pl_module, str(directory))
        trainer.strategy.barrier("paceline: saved")
        # One rank of each pod gives all that the ranks of the pod have written; where none has, only metrics.
        if first and any(directory.iterdir()):
            train.report(metrics, checkpoint=train.Checkpoint.from_directory(directory))
        else:
            train.report(metrics)
        trainer.strategy.barrier("paceline: reported")
        if first:
            shutil.rmtree(directory, ignore_errors=True)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Remove what an attempt that was killed has left."""
        _remove_own_directory()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave nothing."""
        _remove_own_directory()


def _own_directory() -> Path:
    """Temporary, and found again by the next attempt."""
    return Path(tempfile.gettempdir(), f"paceline-lightning-{train.get_context().get_trial_id()}")


def _remove_own_directory() -> None:
    if os.environ.get(c.AGENT_SOCKET) and train.get_context().get_local_rank() == 0:
        shutil.rmtree(_own_directory(), ignore_errors=True)


def _plain(value: Any) -> Any:
    """A tensor as a number, or as a list of them."""
    if not hasattr(value, "tolist"):
        return value
    return value.item() if value.numel() == 1 else value.tolist()
