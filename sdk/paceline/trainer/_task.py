"""The task file: what every worker of a run is to do.

One line of JSON, then a pickle. The line is read first: bytecode of another Python version loads and then crashes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paceline
from paceline.trainer import _function
from paceline.trainer._framework import Framework

FORMAT = 1
_HEADER_BYTES = 64 * 1024


class TaskError(RuntimeError):
    """A task file cannot be used here; the text says why and what to change."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is to do.

    Attributes:
        function: The training function.
        config: `train_loop_config`; None: not given.
        takes_config: Whether the function is called with the configuration.
        framework: What surrounds the function.
        sources: What `paceline.data` made of `datasets`; None: there are none.
        name: `train.py:train_fn`. Empty: as the function tells now, which a worker cannot ask any more.
    """

    function: Callable[..., Any]
    config: dict[str, Any] | None
    takes_config: bool
    framework: Framework
    sources: Any = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", _function.where(self.function))

    def params(self) -> dict[str, Any]:
        """What `params.json` and `Result.config` keep of it."""
        from paceline._metrics import json_safe

        return {"train_fn": self.name, "train_loop_config": json_safe(self.config or {})}

    def call(self) -> Any:
        """Call the function as it wants to be called."""
        if not self.takes_config:
            return self.function()
        if self.config is None and not _function.needs_config(self.function):
            return self.function()
        return self.function({} if self.config is None else self.config)


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a task file."""

    python: str
    """Major and minor version that made the pickle: `3.11`."""
    paceline: str
    function: str
    """`train.py:train_fn`."""
    format: int = FORMAT


def dumps(task: Task, *, same_files: bool = False) -> bytes:
    """The bytes of a task file.

    Args:
        task: What to write.
        same_files: The workers find the modules of this process on their path (this machine; a working directory that
            goes along), so those go by name. False: the user's own modules go by value.
    Raises:
        TypeError: Something that the function uses, or the config, cannot be pickled; the message names it.
    """
    from paceline.trainer import _pickling

    header = {
        "format": FORMAT,
        "python": python_version(),
        "paceline": paceline.__version__,
        "function": task.name,
    }
    # A dict, not the dataclass: a newer version may have more to say.
    body = _pickling.dumps(
        {
            "function": task.function,
            "train_loop_config": task.config,
            "takes_config": task.takes_config,
            "framework": task.framework,
            "datasets": task.sources,
        },
        module=getattr(task.function, "__module__", None),
        same_files=same_files,
    )
    return json.dumps(header).encode() + b"\n" + body


def header(data: bytes) -> Header:
    """Read the first line, and whether this Python can read the rest.

    Raises:
        TaskError: The file is damaged, or made by another Python version or a newer Paceline.
    """
    line, newline, _ = data[:_HEADER_BYTES].partition(b"\n")
    try:
        told = json.loads(line)
        found = Header(str(told["python"]), str(told["paceline"]), str(told["function"]), int(told["format"]))
    except (ValueError, KeyError, TypeError):
        raise TaskError("this is no task file, or a damaged one: its first line is no JSON header") from None
    if not newline:
        raise TaskError("the task file ends after its first line: it was not written to its end")
    if found.format != FORMAT:
        raise TaskError(
            f"the task file has format {found.format}, made by paceline {found.paceline}; paceline"
            f" {paceline.__version__} reads format {FORMAT}: use the same version on both sides"
        )
    if found.python != python_version():
        raise TaskError(
            f"{found.function} was pickled by Python {found.python}, and this worker runs Python {python_version()}:"
            f" use an image with Python {found.python}, or start the run from Python {python_version()}"
        )
    return found


def loads(data: bytes) -> Task:
    """Read a task file of this Python version. Unpickling runs code: only what this project's own trainer wrote.

    Raises:
        TaskError: `header` refuses it, cloudpickle is missing, or a module that it needs cannot be imported.
    """
    import pickle

    about = header(data)
    try:
        import cloudpickle  # noqa: F401 - what it pickled names it
    except ImportError as e:
        raise TaskError("cloudpickle is missing: pip install cloudpickle") from e
    try:
        told = pickle.loads(data[data.index(b"\n") + 1 :])
    except ModuleNotFoundError as e:
        raise TaskError(
            f"{about.function} needs the module {e.name}, which this worker does not have: install it in the worker's"
            " environment"
        ) from e
    return Task(
        function=told["function"],
        config=told["train_loop_config"],
        takes_config=told["takes_config"],
        framework=told["framework"],
        sources=told["datasets"],
        name=about.function,
    )


def python_version() -> str:
    """`3.11`."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"
