"""`Trainer(train_fn, ...).fit()`: the same training function on this machine and on a cluster.

A `Trainer` checks what it is given and makes a `Plan` of it. A `Backend` runs plans: without one, this machine does.
The workers are processes of `paceline.trainer.worker` under the same agent that supervises a pod. What a framework adds
is a `Framework`, which travels to the workers with the function.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paceline.trainer._backend import Backend
    from paceline.trainer._framework import Framework
    from paceline.trainer._plan import Plan
    from paceline.trainer._task import Task, TaskError
    from paceline.trainer._trainer import Trainer

__all__ = ["Backend", "Framework", "Plan", "Task", "TaskError", "Trainer"]

# Every worker imports this package, and needs the task alone.
_LATER = {
    "Backend": "_backend",
    "Framework": "_framework",
    "Plan": "_plan",
    "Task": "_task",
    "TaskError": "_task",
    "Trainer": "_trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
