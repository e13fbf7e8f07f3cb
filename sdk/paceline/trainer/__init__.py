"""`Trainer(train_fn, ...).fit()`: the same training function on this machine and on a cluster.

A `Trainer` checks what it is given and makes a `Plan` of it. A `Backend` runs plans: without one, this machine does.
The workers are processes of `paceline.trainer.worker` under the same agent that supervises a pod. What a framework adds
is a `Framework`, which travels to the workers with the function.
"""

from typing import TYPE_CHECKING

from paceline import _later

if TYPE_CHECKING:
    from paceline.trainer._backend import Backend
    from paceline.trainer._framework import Framework
    from paceline.trainer._plan import Plan
    from paceline.trainer._task import Task, TaskError
    from paceline.trainer._trainer import Trainer
    from paceline.trainer.cluster.handle import RunHandle
    from paceline.trainer.cluster.settings import Kubernetes, Volume

__all__ = ["Backend", "Framework", "Kubernetes", "Plan", "RunHandle", "Task", "TaskError", "Trainer", "Volume"]

# Every worker imports this package, and needs the task alone.
_LATER = {
    "Backend": "_backend",
    "Framework": "_framework",
    "Kubernetes": "cluster.settings",
    "Plan": "_plan",
    "RunHandle": "cluster.handle",
    "Task": "_task",
    "TaskError": "_task",
    "Trainer": "_trainer",
    "Volume": "cluster.settings",
}
__getattr__, __dir__ = _later.names(__name__, _LATER)
