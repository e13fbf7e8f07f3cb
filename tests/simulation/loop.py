"""An event loop whose time is a value: when nothing is ready, it jumps to the next timer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

ROUND_S = 1e-7


class DeadlockError(AssertionError):
    """Nothing is ready and no timer is set: whoever waits would wait for ever."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs coroutines without files, sockets or threads. `time()` begins at 0 and costs nothing to pass."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0
        # The base class asks its selector how long to sleep, and that is where time passes.
        self._selector = self
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Return the seconds since the loop was made."""
        return self._virtual

    def select(self, timeout: float | None) -> Sequence[Any]:
        """Let the time pass that the loop would sleep. Raises DeadlockError when that is for ever."""
        if timeout is None:
            raise DeadlockError("nobody is left who could wake anybody")
        # A round of the loop costs a little: whoever waits for what is due in a trillionth of a second gets there.
        self._virtual += timeout + ROUND_S
        return ()

    def _process_events(self, events: Sequence[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass
