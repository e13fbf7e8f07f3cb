"""Can this be a training function? Kind and signature are checked where the trainer is made."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TrainFn = Callable[[], Any] | Callable[[dict[str, Any]], Any]


def takes_config(function: object) -> bool:
    """Whether the function is called with the configuration.

    Raises:
        TypeError: It is no function, or one that the workers cannot call; the message names it and what to change.
    """
    if not callable(function):
        raise TypeError(f"the training function is {function!r}, a {type(function).__name__}: pass a function")
    name = called(function)
    if inspect.isclass(function):
        raise TypeError(f"{name} is a class: pass a function; the workers call it, and nothing else")
    _refuse_kind(function, name)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C: nothing tells what it takes
        raise TypeError(f"{name} does not tell which arguments it takes: write a function around it") from None
    positional = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p.name for p in signature.parameters.values() if p.default is p.empty and p.kind in _NAMED]
    by_keyword = [p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if len(needed) > 1 or by_keyword:
        raise TypeError(
            f"{name}{signature} needs {' and '.join(needed)}, and the workers call it with no argument or with one, the"
            " config: write `def train_fn(config)` and pass the rest in train_loop_config"
        )
    return bool(positional) or any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())


def needs_config(function: Callable[..., Any]) -> bool:
    """Whether the function cannot be called without the configuration."""
    return any(p.default is p.empty and p.kind in _NAMED for p in inspect.signature(function).parameters.values())


_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _refuse_kind(function: Callable[..., Any], name: str) -> None:
    inner = innermost(function)
    for candidate in (inner, getattr(type(inner), "__call__", None)):  # noqa: B004 - its kind is asked, not whether
        if inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate):
            raise TypeError(f"{name} is an async function, and the workers run no event loop: write a plain `def`")
        if inspect.isgeneratorfunction(candidate):
            raise TypeError(
                f"{name} is a generator (it has a `yield`), so a call would run nothing of it: tell metrics by"
                " paceline.train.report(...) instead of `yield`"
            )


def innermost(function: Any) -> Any:
    """What a partial, a bound method, or a decorator that says so, calls in the end."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            return function


def called(function: Any) -> str:
    """The function's own name, for messages and for the names of runs."""
    inner = innermost(function)
    return str(getattr(inner, "__qualname__", None) or type(inner).__qualname__).replace("<locals>.", "")


def where(function: Any) -> str:
    """`train.py:train_fn`: which file the function is from, and its name."""
    inner = innermost(function)
    code = getattr(inner, "__code__", None)
    file = Path(code.co_filename).name if code is not None else ""
    if not file or file.startswith("<"):
        # Of a notebook, or made by exec: the module tells more.
        module = sys.modules.get(getattr(inner, "__module__", "") or "")
        file = Path(getattr(module, "__file__", None) or "").name or "interactive"
    return f"{file}:{called(function)}"
