"""Clients of hdfs-native in a process that forks.

Freeing the last reference to such a client joins the threads of its runtime, and those stay in the parent: a forked
child that frees one hangs for ever. The collector does that, and so does fsspec, which empties its cache of filesystems
in every child. So a child never frees what it has from its parent.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any

_clients: weakref.WeakSet[Any] = weakref.WeakSet()
_across_the_fork: list[Any] = []


def keep(client: Any) -> Any:
    """Note a client of this process, and return it."""
    _clients.add(client)
    return client


def _before() -> None:
    _across_the_fork.extend(_clients)


def _in_child() -> None:
    for client in _across_the_fork:
        # A reference that nothing gives back, not even the end of the interpreter.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))
    _across_the_fork.clear()
    _clients.clear()


os.register_at_fork(before=_before, after_in_parent=_across_the_fork.clear, after_in_child=_in_child)
