"""A wrong keyword of a config is told with the right one, not by a bare TypeError of `__init__`."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

_T = TypeVar("_T", bound=type)


def explained(hints: Mapping[str, str] | None = None) -> Callable[[_T], _T]:
    """Decorate a dataclass: unknown keywords raise a TypeError that tells what to write instead.

    Args:
        hints: What to do about names that scripts for other libraries use.
    """

    def decorate(cls: _T) -> _T:
        made: Any = cls.__init__  # type: ignore[misc]
        known = [field.name for field in fields(cls)]

        @functools.wraps(made)
        def init(self: Any, *args: Any, **given: Any) -> None:
            for name in given:
                if name not in known:
                    raise TypeError(problem(cls.__name__, name, known, hints))
            made(self, *args, **given)

        cls.__init__ = init  # type: ignore[misc]
        return cls

    return decorate


def problem(where: str, name: str, known: list[str], hints: Mapping[str, str] | None = None) -> str:
    """What to say about a keyword that `where` does not know."""
    if hints and name in hints:
        return f"{where} has no {name}: {hints[name]}"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"{where} has no {name}: did you mean {near[0]}? It knows {', '.join(known)}"
    return f"{where} has no {name}: it knows {', '.join(known)}"
