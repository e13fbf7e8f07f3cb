"""So many requests at once, and who goes first when more want to.

What a user waits for (pods of an attempt) overtakes what can wait (a Service that is needed only once processes run, a
status that says Running), but only for so long: nothing starves.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum

# Requests under way at once. More does not make one API server faster; fewer leaves it idle.
PARALLEL = 40


class Turn(Enum):
    """How many seconds of later requests of the first kind go before this one."""

    NOW = 0.0
    SOON = 3.0


class Gate:
    """Lets `parallel` through at once, the one with the earliest due time first."""

    def __init__(self, parallel: int = PARALLEL, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = parallel
        self._clock = clock
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = 0

    @property
    def busy(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    @asynccontextmanager
    async def pass_(self, turn: Turn) -> AsyncIterator[None]:
        """Wait for a place and hold it."""
        if self._free > 0:
            self._free -= 1
        else:
            await self._wait(turn)
        try:
            yield
        finally:
            self._leave()

    async def _wait(self, turn: Turn) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number += 1
        heapq.heappush(self._waiting, (self._clock() + turn.value, self._number, place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            place = heapq.heappop(self._waiting)[2]
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
