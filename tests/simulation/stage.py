"""A simulated cluster to be driven by a test: let time pass, do something, look."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from tests.simulation.history import History
from tests.simulation.loop import VirtualLoop
from tests.simulation.world import World


class Stage:
    """A world whose time passes when the test says so. Use it by `stage(...)`."""

    def __init__(self, history: str) -> None:
        self._loop = VirtualLoop()
        self.world = World(self._loop, History.parse(history), None)
        self.world.begin()

    def after(self, seconds: float) -> World:
        """Let time pass; return the world, in which no invariant broke so far."""
        self._loop.run_until_complete(asyncio.sleep(seconds))
        assert not self.world.broken, self.world.broken
        return self.world

    def close(self) -> None:
        """End all that runs."""
        self.world.stop()
        self._loop.close()


@contextmanager
def stage(history: str) -> Iterator[Stage]:
    """Begin a history and hand the time over to the test."""
    made = Stage(history)
    try:
        yield made
    finally:
        made.close()
