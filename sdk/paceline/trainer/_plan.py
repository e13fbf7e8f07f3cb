"""What a backend is given: everything about one run, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from paceline.train import Checkpoint
from paceline.train._configs import RunConfig
from paceline.train._scaling import ScalingConfig
from paceline.trainer import _function
from paceline.trainer._framework import Framework
from paceline.trainer._task import Task

_NAME_CHARACTERS = 24


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of a training function.

    Attributes:
        task: What every worker is to do; `_task.dumps` makes the file that `paceline.trainer.worker` reads.
        scaling: How many workers, and what each gets.
        run: Name, storage, failures, checkpoints.
        resume_from: Where the first attempt starts. None: at the latest checkpoint of the run, if it has one.
    """

    task: Task
    scaling: ScalingConfig
    run: RunConfig
    resume_from: Checkpoint | None = None

    @property
    def framework(self) -> Framework:
        """What surrounds the function."""
        return self.task.framework

    @property
    def function_name(self) -> str:
        """`train.py:train_fn`, for messages."""
        return self.task.name

    @property
    def name_prefix(self) -> str:
        """Begins the name of a run that has none: a DNS label of at most 24 characters."""
        last = _function.called(self.task.function).rpartition(".")[2]
        text = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:_NAME_CHARACTERS].strip("-")
        return text if text[:1].isalpha() else "run"
