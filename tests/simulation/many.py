"""Many histories: plays them, adds up what they covered, and shrinks the first that breaks something."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from tests.simulation.generate import generate
from tests.simulation.history import History
from tests.simulation.shrink import shrink
from tests.simulation.world import play

CHUNK = 25


@dataclass(slots=True)
class Summary:
    """What many histories came to."""

    histories: int = 0
    seconds: float = 0.0
    simulated_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[int, str]] = field(default_factory=list)
    """Seeds, and what broke in them."""

    def add(self, other: Summary) -> None:
        """Take over what others came to."""
        self.histories += other.histories
        self.simulated_s += other.simulated_s
        self.counts += other.counts
        self.broken += other.broken


def play_seeds(seeds: Iterable[int]) -> Summary:
    """Play the histories of some seeds."""
    summary = Summary()
    for seed in seeds:
        played = play(generate(seed))
        summary.histories += 1
        summary.simulated_s += played.at
        summary.counts += played.counts
        if played.broken:
            summary.broken.append((seed, played.broken))
    return summary


def play_many(
    first: int,
    histories: int,
    *,
    seconds: float = float("inf"),
    processes: int = 1,
    stop_at: int = 1,
    told: Callable[[Summary], None] = lambda summary: None,
) -> Summary:
    """Play histories from a seed on.

    Args:
        first: The first seed.
        histories: How many at most.
        seconds: Real time at most; what is under way is finished.
        processes: How many at once.
        stop_at: End after so many broken ones.
        told: Called now and then with what there is so far.
    """
    began, summary = time.monotonic(), Summary()
    chunks = (range(at, min(at + CHUNK, first + histories)) for at in range(first, first + histories, CHUNK))

    def take(part: Summary) -> bool:
        summary.add(part)
        summary.seconds = time.monotonic() - began
        told(summary)
        return len(summary.broken) < stop_at and summary.seconds < seconds

    if processes == 1:
        for chunk in chunks:
            if not take(play_seeds(chunk)):
                break
        return summary
    with ProcessPoolExecutor(processes) as pool:
        under_way = [pool.submit(play_seeds, chunk) for chunk in islice(chunks, 2 * processes)]
        going_on = True
        while under_way:
            going_on = take(under_way.pop(0).result()) and going_on
            if going_on:
                under_way += [pool.submit(play_seeds, chunk) for chunk in islice(chunks, 1)]
    return summary


def smallest(history: History, *, seconds: float = 20.0) -> tuple[History, str]:
    """Shrink a history that breaks something, while it is the same that breaks; return it and what that is."""
    wanted = _sort(play(history).broken)
    small = shrink(history, lambda smaller: _sort(play(smaller).broken) == wanted, seconds=seconds)
    return small, play(small).broken


def _sort(broken: str) -> str:
    """What broke, without names and numbers."""
    return re.sub(r"\b[a-c]\b[-\d]*|\[.*\]|[\d.]+", "", broken)
