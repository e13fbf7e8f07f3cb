"""`python -m paceline.trainer.worker TASK`: a process of a run; it loads the task file and calls the function.

The agent starts it, as it starts any training script. Nothing is imported here that the function does not need.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from paceline import _contract as c
from paceline import _garbage

# The hook that tells the agent of an exception is in place from here on.
from paceline.train import _client, _report
from paceline.trainer import _function, _lifetime, _taskfiles
from paceline.trainer._task import Task, TaskError, loads

_LONGEST_PARAMS = 256 * 1024


def main(arguments: list[str]) -> None:
    """Do what the task file says.

    Raises:
        SystemExit: The task cannot be read, or the function has raised.
    """
    if len(arguments) != 1:
        raise SystemExit("usage: python -m paceline.trainer.worker TASK")
    _garbage.hold_off()
    _lifetime.end_with_parent()
    _forget_work_directory()
    del sys.argv[1:]  # a parser in the function, or in a module of the user's, would take it for its own
    try:
        task = loads(_taskfiles.read(arguments[0]))
    except TaskError as e:
        # Nothing changes by a restart: the agent tells this code and this type as InvalidConfig. Where in our own code
        # it was seen helps nobody.
        _tell(e.with_traceback(None))
        raise SystemExit(c.EXIT_INVALID_CONFIG) from None
    _define_in_main(task.function)
    try:
        run(task, _garbage.collect_again)
    except Exception as e:
        # Without our own frames, which tell nothing of the user's mistake.
        _tell(e.with_traceback(below(e.__traceback__)))
        raise SystemExit(1) from None


def run(task: Task, begins: Callable[[], None] = lambda: None) -> None:
    """Call the function within the framework's session; this process's rank variables are set.

    Args:
        task: What to call.
        begins: Called right before it, when everything is imported.
    """
    os.environ[c.IN_FIT] = task.name
    tell_params(task)
    _report.train_loop_config = task.config
    with _datasets(task.sources), task.framework.session(), _trackers():
        begins()
        task.call()


@contextlib.contextmanager
def _datasets(sources: Any) -> Iterator[None]:
    if sources is None:
        yield
        return
    from paceline.train import _shards

    _shards.provide(sources)
    try:
        yield
    finally:
        _shards.provide({})


@contextlib.contextmanager
def _trackers() -> Iterator[None]:
    """What the function has begun at trackers is finished when it ends; nothing is imported where it has not."""
    try:
        yield
    except BaseException as e:
        failed = not (isinstance(e, SystemExit) and e.code in (None, 0))
        _finish("failed" if failed else "succeeded")
        raise
    _finish("succeeded")


def _finish(ending: Any) -> None:
    if finishing := sys.modules.get("paceline.tracking._finishing"):
        finishing.all_of(ending)


def tell_params(task: Task) -> None:
    """Rank 0 has the function's name and the configuration written into `params.json`."""
    client = _client.client()
    if client is None or os.environ.get(c.RANK) != "0":
        return
    told = task.params()
    line = _params(told)
    if len(line) > _LONGEST_PARAMS:
        line = _params({**told, "train_loop_config": f"{len(line)} characters: too long to be kept here"})
    client.send(line)


def _params(told: dict[str, Any]) -> str:
    return json.dumps({"t": "params", "params": told})


def below(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames at its beginning that are ours; whole, where all of them are."""
    own = str(Path(__file__).parent)
    rest = trace
    while rest is not None and rest.tb_frame.f_code.co_filename.startswith((own, "<frozen")):
        rest = rest.tb_next
    return rest or trace


def _forget_work_directory() -> None:
    """`python -m` puts the working directory first on the path; in a run on this machine, workers write there."""
    work = os.environ.get(c.WORK_DIR)
    if work and not getattr(sys.flags, "safe_path", False) and Path(sys.path[0]).resolve() == Path(work).resolve():
        del sys.path[0]


def _define_in_main(function: Any) -> None:
    """Classes and functions of the script's `__main__` are found there again: `pickle` looks for them by name."""
    own = ModuleType("__main__")
    # The module that runs now lives on below it.
    own.__dict__["__paceline__"] = sys.modules["__main__"]
    for name, value in getattr(_function.innermost(function), "__globals__", {}).items():
        if getattr(value, "__module__", None) == "__main__":
            setattr(own, name, value)
    sys.modules["__main__"] = own


def _tell(error: BaseException) -> None:
    sys.excepthook(type(error), error, error.__traceback__)


if __name__ == "__main__":
    main(sys.argv[1:])
