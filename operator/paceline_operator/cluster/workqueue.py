"""Keys to look at: each by one worker at a time, at most once in the queue, later with backoff or after a time."""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import deque
from collections.abc import Callable

FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 60.0


class WorkQueue:
    """A queue of keys. What is added while a worker holds the key comes back when the worker is done with it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ready: deque[str] = deque()
        self._queued: set[str] = set()
        self._held: set[str] = set()
        self._dirty: set[str] = set()
        self._later: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: str) -> None:
        """Look at the key as soon as a worker is free."""
        if key in self._held:
            self._dirty.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.append(key)
            self._wake.set()

    def add_after(self, key: str, seconds: float) -> None:
        """Look at the key after a time, or earlier when something earlier was asked for."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._later, (due, key))
            self._wake.set()

    def retry(self, key: str, at_least_s: float = 0.0) -> float:
        """Look at the key again after a failure, later each time; return the seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        wait = max(
            at_least_s, min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures, 20)) * random.uniform(0.5, 1.0)
        )
        self.add_after(key, wait)
        return wait

    def succeeded(self, key: str) -> None:
        """Forget the failures of a key."""
        self._failures.pop(key, None)

    def close(self) -> None:
        """Give out no more keys; those held may be finished."""
        self._closed = True
        self._wake.set()

    async def get(self) -> str | None:
        """Return the next key, held until `done`; None once the queue is closed."""
        while not self._closed:
            self._promote()
            if self._ready:
                key = self._ready.popleft()
                self._queued.discard(key)
                self._held.add(key)
                # A timer of an earlier look is void: this one sets its own.
                self._due.pop(key, None)
                return key
            self._wake.clear()
            wait = max(0.0, self._later[0][0] - self._clock()) if self._later else None
            try:
                await asyncio.wait_for(self._wake.wait(), wait)
            except TimeoutError:
                pass
        return None

    def done(self, key: str) -> None:
        """Release a key."""
        self._held.discard(key)
        if key in self._dirty:
            self._dirty.discard(key)
            self.add(key)

    def _promote(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
