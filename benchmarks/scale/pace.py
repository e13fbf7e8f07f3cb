"""Requests at a fixed rate, whether or not the answers keep up, and whether they did."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.numbers import percentile

# After the last request is sent, all must be done within this time: else the queue has grown, and would go on growing.
BEHIND_S = 5.0


@dataclass(frozen=True, slots=True)
class Pace:
    """What became of so many requests a second."""

    asked: int
    done: int
    seconds: float
    """In which they were asked for."""
    behind_s: float
    """From the last one asked for to the last one done."""
    lags: tuple[float, ...]
    """Seconds from asked for (or known) to done."""

    @property
    def kept_up(self) -> bool:
        """Whether all were done, and soon after the last."""
        return self.done >= self.asked and self.behind_s <= BEHIND_S

    def figures(self) -> dict[str, Any]:
        """Return what is written down."""
        return {
            "asked": self.asked,
            "done": self.done,
            "kept_up": self.kept_up,
            "behind_s": self.behind_s,
            "p50_s": percentile(self.lags, 0.5) if self.lags else None,
            "p99_s": percentile(self.lags, 0.99) if self.lags else None,
        }


def paced(asked: Mapping[str, float], done: Mapping[str, float], seconds: float) -> Pace:
    """Return what became of requests, by their names: when each was asked for, and when it was done."""
    lags = tuple(done[name] - since for name, since in asked.items() if name in done)
    behind_s = max(done.values(), default=0.0) - max(asked.values(), default=0.0)
    return Pace(len(asked), len(lags), seconds, max(0.0, behind_s), lags)


async def at_rate(rate: float, count: int, send: Callable[[int], Awaitable[Any]]) -> list[float]:
    """Start `count` requests, `rate` a second; return when each was due (seconds since the epoch).

    They are started when they are due, also when earlier ones wait for their answers.
    """
    began = time.time()
    due = [began + number / rate for number in range(count)]
    async with asyncio.TaskGroup() as tasks:
        for number, at in enumerate(due):
            await asyncio.sleep(max(0.0, at - time.time()))
            tasks.create_task(_awaited(send(number)))
    return due


async def _awaited(request: Awaitable[Any]) -> None:
    await request
