"""The loop that `benchmarks/report.py` times, the same for every library that has a `report`. Standard library only."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACE_S = 0.002  # a fast training step

Report = Callable[..., Any]


def metrics_only(report: Report, *, count: int, pace_s: float) -> dict[str, float]:
    """Time `count` reports of three numbers, in seconds: p50, p99 and the longest."""
    times = []
    for i in range(count):
        metrics = {"loss": 1 / (i + 1), "accuracy": i / count, "epoch": i}
        begun = time.perf_counter()
        report(metrics)
        times.append(time.perf_counter() - begun)
        if pace_s:
            time.sleep(pace_s)
    times.sort()
    return {
        "count": count,
        "p50_s": times[count // 2],
        "p99_s": times[min(count - 1, count * 99 // 100)],
        "max_s": times[-1],
    }


def with_checkpoint(
    report: Report, from_directory: Callable[[str], Any], *, count: int, size_bytes: int, between_s: float
) -> list[float]:
    """Seconds that each of `count` reports with one file of `size_bytes` held the worker."""
    block = bytes(range(256)) * 4096  # 1 MiB
    held = []
    for i in range(count):
        with tempfile.TemporaryDirectory() as directory:
            with Path(directory, "model.pt").open("wb") as f:
                for _ in range(size_bytes // len(block)):
                    f.write(block)
            checkpoint = from_directory(directory)
            begun = time.perf_counter()
            report({"i": i}, checkpoint=checkpoint)
            held.append(time.perf_counter() - begun)
        time.sleep(between_s)
    return held
