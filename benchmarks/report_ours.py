"""The worker of `benchmarks/report.py`: started by an agent, it writes its figures to the file given."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks import report_loop
from paceline import train


def main(out: str, size_bytes: int, count: int, between_s: float) -> None:
    """Measure and write."""
    report_loop.metrics_only(train.report, count=200, pace_s=0)  # the connection, and warm caches
    figures: dict[str, object] = {}
    if count <= 0:
        figures["paced"] = report_loop.metrics_only(train.report, count=3000, pace_s=report_loop.PACE_S)
        time.sleep(1)
        figures["tight"] = report_loop.metrics_only(train.report, count=100_000, pace_s=0)
    else:
        figures["held_s"] = report_loop.with_checkpoint(
            train.report, train.Checkpoint.from_directory, count=count, size_bytes=size_bytes, between_s=between_s
        )
    Path(out).write_text(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
