"""Names of a package that are imported when they are asked for: what a process does not use costs it nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any


def names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package (PEP 562).

    Args:
        package: Its `__name__`.
        homes: Name -> the module below the package that has it.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module

        found = getattr(import_module(f"{package}.{homes[name]}"), name)
        vars(sys.modules[package])[name] = found
        return found

    def known() -> list[str]:
        of = vars(sys.modules[package])
        return sorted({*of, *of["__all__"]})

    return find, known
