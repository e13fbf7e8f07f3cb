"""Servers that are heavy to keep: the tests that need one run in a row, and then it ends.

A control plane that nobody uses takes a twentieth of a core. Workers of xdist take files in their order
(`--dist loadfile --no-loadscope-reorder`), so what has ended in one of them is not asked for there again.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TypeVar

import pytest

# Fixtures, by the names that tests ask for; the group that takes longest comes first.
HEAVY = ("hdfs_server", "chart_server", "api_server")
_group = pytest.StashKey[str]()
_running: dict[str, ExitStack] = {}
_Server = TypeVar("_Server")


def hold(name: str, server: AbstractContextManager[_Server]) -> _Server:
    """Start the server of a fixture; `end_unused` ends it."""
    stack = _running[name] = ExitStack()
    return stack.enter_context(server)


def end_unused(following: pytest.Item | None) -> None:
    """End what the group of the next test does not need."""
    group = following.stash.get(_group, "") if following is not None else ""
    for name in [name for name in _running if name != group]:
        _running.pop(name).close()


def group(items: list[pytest.Item], *, below: Path) -> None:
    """Sort tests into groups: files that need the same heavy server, and each other file.

    Args:
        items: Sorted in place.
        below: What lies elsewhere is left alone, and comes last.
    """
    needed: dict[Path, set[str]] = {}
    for item in items:
        if item.path not in needed:
            # A test may also ask for a server when it runs.
            text = item.path.read_text()
            needed[item.path] = {name for name in HEAVY if f'getfixturevalue("{name}")' in text}
        needed[item.path] |= set(HEAVY) & set(getattr(item, "fixturenames", ()))
    for path, names in needed.items():
        assert len(names) <= 1, f"{path} needs {sorted(names)}, and may need one of them: split it"
    for item in items:
        if item.path.is_relative_to(below):
            item.stash[_group] = next(iter(needed[item.path]), item.path.name)
    items.sort(key=lambda item: _rank(item.stash.get(_group, "")))


def _rank(group: str) -> int:
    return HEAVY.index(group) if group in HEAVY else len(HEAVY)
