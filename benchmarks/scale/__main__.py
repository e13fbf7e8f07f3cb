"""The figures of scale, on one real API server with fake nodes.

    python -m benchmarks.scale [--only NAME ...] [--minutes 20] [--fraction 1.0] [--write FILE]

Each part is written to FILE when it is done, beside what FILE has already: an interruption loses one part. A smaller
`--fraction` of the pods and of the time tells whether it all works; its figures say with how many pods they were made.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks import numbers
from benchmarks.bench import Bench
from benchmarks.scale import churn, one_job, restart, soak, throttled
from benchmarks.scale.size import Size
from e2e.cluster import bed, down

KWOK_NODES = 50

Part: TypeAlias = Callable[[Bench, Size], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One part, and what it takes."""

    run: Part
    render: Callable[[Mapping[str, Any]], list[str]]
    minutes: float
    """About so long for a whole run on two quiet cores, the soak without its own minutes."""


PARTS: dict[str, Entry] = {
    "one-job": Entry(one_job.measure, one_job.render, 6),
    "churn": Entry(churn.measure, churn.render, 8),
    "throttled": Entry(throttled.measure, throttled.render, 3),
    "soak": Entry(soak.measure, soak.render, 1),
    "restart": Entry(restart.measure, restart.render, 7),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the parts; return 1 when one of them came to no figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="The figures of scale.")
    parser.add_argument("--only", action="append", choices=list(PARTS), metavar="NAME", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--minutes", type=float, default=20.0, help="length of the soak")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the pods and the time of all other parts")
    parser.add_argument("--write", type=Path, help="write the figures to this JSON file after each part")
    parser.add_argument("--bed", default="scale", help="name of the test bed")
    options = parser.parse_args(arguments)
    if not 0 < options.fraction <= 1:
        parser.error(f"--fraction is {options.fraction}: give more than 0, and 1 at most")
    names = options.only or list(PARTS)
    size = Size(options.fraction, options.minutes)
    failed = []
    for name in names:
        entry = PARTS[name]
        estimate = 1 + entry.minutes * options.fraction + (options.minutes if name == "soak" else 0)
        print(f"\n== {name}: about {estimate:.0f} min", flush=True)
        began = time.monotonic()
        try:
            figures = _measure(entry, size, options.bed)
        except Exception:
            # The other parts have figures of their own.
            traceback.print_exc()
            failed.append(name)
            continue
        figures = {"fraction": options.fraction, **figures, "took_s": round(time.monotonic() - began)}
        _keep(options.write, name, figures)
        print("\n".join(["", *entry.render(figures)]), flush=True)
    if failed:
        print(f"\nno figures: {', '.join(failed)}")
    return 1 if failed else 0


def _measure(entry: Entry, size: Size, name: str) -> dict[str, Any]:
    """A bed for each part: what one leaves behind, or a run that was interrupted, is not in the way of the next."""
    down(name)
    with bed(name=name, nodes=0, kwok_nodes=KWOK_NODES, s3=False) as b:
        bench = Bench(b)
        bench.prepare()
        return entry.run(bench, size)


def _keep(file: Path | None, name: str, figures: dict[str, Any]) -> None:
    if file is None:
        return
    known = json.loads(file.read_text()) if file.exists() else {}
    known |= {"machine": numbers.machine(), name: figures}
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(known, indent=2) + "\n")
    temporary.replace(file)


if __name__ == "__main__":
    sys.exit(main())
