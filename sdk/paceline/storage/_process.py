"""A value made once in each process: clients hold threads and connections, which do not survive a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# Reentrant: a value may be made of another one.
_making = threading.RLock()


def _renew_lock() -> None:
    # Held by a thread of the parent at the fork, it would never be released in the child.
    global _making
    _making = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


class PerProcess(Generic[T]):
    """Calls `make` at the first `get` of a process; later calls, from any thread, give the same value."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: tuple[int, T] | None = None

    def get(self) -> T:
        """The value of this process."""
        made = self._made
        if made is None or made[0] != os.getpid():
            with _making:
                made = self._made
                if made is None or made[0] != os.getpid():
                    made = self._made = (os.getpid(), self._make())
        return made[1]
