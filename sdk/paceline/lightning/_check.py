"""`prepare_trainer`: is this Trainer one rank of a run?"""

from __future__ import annotations

from typing import Any, TypeVar

from paceline.lightning._environment import LightningEnvironment
from paceline.lightning._package import PACKAGES
from paceline.lightning._strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy

T = TypeVar("T")


def prepare_trainer(trainer: T) -> T:
    """Check that a Lightning `Trainer` has a strategy and an environment of Paceline, and return it.

    Raises:
        TypeError: It is no Trainer.
        RuntimeError: Strategy or environment are others, with which each rank would train alone or start processes
            of its own. The message says what to write.
    """
    if not any(kind.__name__ == "Trainer" and kind.__module__.startswith(PACKAGES) for kind in type(trainer).__mro__):
        raise TypeError(f"prepare_trainer: trainer is a {type(trainer).__name__}: pass a Trainer of Lightning")
    problems = [*_strategy_problems(trainer), *_environment_problems(trainer)]
    if problems:
        raise RuntimeError("prepare_trainer: " + "; ".join(problems))
    return trainer


def _strategy_problems(trainer: Any) -> list[str]:
    if isinstance(trainer.strategy, DDPStrategy | FSDPStrategy | DeepSpeedStrategy):
        return []
    name = type(trainer.strategy).__name__
    same = name if name in ("FSDPStrategy", "DeepSpeedStrategy") else "DDPStrategy"
    return [
        f"the Trainer's strategy is Lightning's {name}, which knows nothing of the ranks of this run: write"
        f" Trainer(strategy=paceline.lightning.{same}(), ...), with the arguments that yours has"
    ]


def _environment_problems(trainer: Any) -> list[str]:
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if isinstance(environment, LightningEnvironment):
        return []
    name = "none" if environment is None else f"Lightning's {type(environment).__name__}"
    return [
        f"the Trainer's cluster environment is {name}: write"
        " Trainer(plugins=[paceline.lightning.LightningEnvironment()], ...)"
    ]
