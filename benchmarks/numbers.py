"""Percentiles, slopes, CPU seconds and the machine's name: what several benchmarks share. Nothing here waits."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

import psutil


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that at least `share` (0 to 1) of all values do not exceed.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("a percentile of no values: nothing was measured")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return by how much y grows with one unit of x: the line of least squares.

    Raises:
        ValueError: Fewer than two different x.
    """
    count = len(points)
    middle_x = sum(x for x, _ in points) / max(1, count)
    middle_y = sum(y for _, y in points) / max(1, count)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    if spread == 0:
        raise ValueError(f"a slope needs two points in time, there are {count} points: measure for longer")
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread


def second_half(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points of the second half of the time, which a start does not touch."""
    if not points:
        return []
    middle = (points[0][0] + points[-1][0]) / 2
    return [point for point in points if point[0] >= middle]


def metric(page: str, name: str, **labels: str) -> float:
    """Return a value of a page of metrics: the sum over all that have these labels, 0 where a counter has none yet."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    total = 0.0
    for line in page.splitlines():
        what, _, value = line.rpartition(" ")
        if what.partition("{")[0] == name and all(label in what for label in wanted):
            total += float(value)
    return total


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds that a process has used so far, in its own code and in the kernel."""
    times = process.cpu_times()
    return float(times.user + times.system)


def machine() -> str:
    """Return what figures of this machine are headed with."""
    memory = psutil.virtual_memory().total / 2**30
    python = platform.python_version()
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python {python}"
