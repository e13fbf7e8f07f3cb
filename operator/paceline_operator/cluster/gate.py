"""So many requests at once, and who goes first when more want to.

What a user waits for (pods of an attempt) goes before what can wait (a Service that is needed only once processes run,
a status that says Running): that waits while any of the first kind is under way, but only for so long: nothing starves.
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
# A loop's timers may be early by its resolution.
_LATER_S = 0.005


class Turn(Enum):
    """For how many seconds requests of the first kind go before this one.

    The agents of a pod ask for the Service's names a second after the pod was made, and a name that is not there yet is
    kept as such for seconds by a cluster's DNS.
    """

    NOW = 0.0
    SOON = 1.0


class Gate:
    """Lets `parallel` through at once, the one with the earliest due time first."""

    def __init__(self, parallel: int = PARALLEL, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = parallel
        self._urgent = 0
        """How many of the first kind are under way."""
        self._clock = clock
        self._waiting: list[tuple[float, int, Turn, asyncio.Future[None]]] = []
        self._number = 0

    @property
    def busy(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    @asynccontextmanager
    async def pass_(self, turn: Turn) -> AsyncIterator[None]:
        """Wait for a place and hold it."""
        if self._free > 0 and (turn is Turn.NOW or not self._urgent):
            self._enter(turn)
        else:
            await self._wait(turn)
        try:
            yield
        finally:
            self._leave(turn)

    def _enter(self, turn: Turn) -> None:
        self._free -= 1
        self._urgent += turn is Turn.NOW

    async def _wait(self, turn: Turn) -> None:
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        self._number += 1
        heapq.heappush(self._waiting, (self._clock() + turn.value, self._number, turn, place))
        if turn is not Turn.NOW:
            loop.call_later(turn.value + _LATER_S, self._admit)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave(turn)
            raise

    def _leave(self, turn: Turn) -> None:
        self._free += 1
        self._urgent -= turn is Turn.NOW
        self._admit()

    def _admit(self) -> None:
        while self._free > 0 and self._waiting:
            due, _, turn, place = self._waiting[0]
            if not place.done():
                # Those of the first kind that wait are due already, so none of them stands behind this one.
                if turn is not Turn.NOW and self._urgent and due > self._clock():
                    return
                self._enter(turn)
                place.set_result(None)
            heapq.heappop(self._waiting)
