"""Play simulated histories: `python -m tests.simulation SEED`, or with a printed history, or `--histories N`."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.simulation.generate import generate
from tests.simulation.history import History
from tests.simulation.many import Summary, play_many, smallest
from tests.simulation.world import play

TELL_S = 10.0


def main(argv: list[str] | None = None) -> int:
    """Return 1 when an invariant broke, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("history", nargs="?", help="a seed or a printed history: play it and tell the story")
    parser.add_argument("--histories", type=int, help="play so many, from --from on")
    parser.add_argument("--from", dest="first", type=int, default=1, metavar="SEED", help="the first seed (1)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="real time at most")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--keep-going", action="store_true", help="list up to 50 broken histories, do not shrink")
    parser.add_argument("--shrink", action="store_true", help="make the given history small before it is told")
    given = parser.parse_args(argv)
    if given.history is not None:
        return _one(given.history, shrunk=given.shrink)
    if given.histories is None:
        parser.error("give a seed, a history, or --histories N")
    return _many(given)


def _one(text: str, *, shrunk: bool) -> int:
    history = generate(int(text)) if text.isdigit() else History.parse(text)
    if shrunk:
        history, _ = smallest(history, seconds=120.0)
    print(history)
    played = play(history, trace=print)
    print(f"BROKEN: {played.broken}" if played.broken else f"all held, over {played.at:.0f} simulated seconds")
    return 1 if played.broken else 0


def _many(given: argparse.Namespace) -> int:
    told_at, known = time.monotonic(), 0

    def told(summary: Summary) -> None:
        nonlocal told_at, known
        for seed, why in summary.broken[known:]:
            print(f"BROKEN seed {seed}: {why}", flush=True)
        known = len(summary.broken)
        if time.monotonic() - told_at >= TELL_S:
            told_at = time.monotonic()
            rate = summary.histories / summary.seconds
            print(f"{summary.histories} histories, {rate:.0f} a second, {len(summary.broken)} broken", flush=True)

    summary = play_many(
        given.first, given.histories, seconds=given.seconds, processes=given.processes,
        stop_at=50 if given.keep_going else 1, told=told,
    )  # fmt: skip
    for kind in sorted(summary.counts):
        if summary.counts[kind]:
            print(f"{summary.counts[kind]:9}  {kind}")
    rate = summary.histories / max(summary.seconds, 1e-9)
    days = summary.simulated_s / 86400
    print(f"{summary.histories} histories from seed {given.first} on ({days:.1f} simulated days)")
    print(f"in {summary.seconds:.0f} s, {rate:.0f} a second")
    if not summary.broken:
        print("all invariants held")
        return 0
    print(f"{len(summary.broken)} broke an invariant")
    if not given.keep_going:
        small, why = smallest(generate(summary.broken[0][0]))
        print(f"\nas small as it gets: {why}\n  python -m tests.simulation '{small}'")
    return 1


if __name__ == "__main__":
    sys.exit(main())
