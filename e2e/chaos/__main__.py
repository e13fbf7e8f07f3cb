"""Runs the faults one after the other on the end-to-end bed, and prints what each of them cost."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import uuid
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from e2e import stack as stacks
from e2e.chaos import table, torchrun, trial
from e2e.chaos.arena import Arena
from e2e.chaos.faults import BY_NAME, FAULTS, Fault
from e2e.cluster import Bed, bed
from e2e.jobs import Workspace, digits
from e2e.stack import ROOT, Stack

EPOCHS = 20
# A pause after each epoch leaves time to strike between two checkpoints.
ARGS = ["--epochs", str(EPOCHS), "--pause-seconds", "1"]
PAGE = ROOT / "docs/operations/failures.md"


def main() -> int:
    """Return 1 when a job did not survive its fault."""
    parser = argparse.ArgumentParser(prog="python -m e2e.chaos", description="One fault after another into real jobs.")
    parser.add_argument("--only", action="append", choices=list(BY_NAME), metavar="NAME", help="several times")
    parser.add_argument("--without-torchrun", action="store_true", help="measure no torchrun beside")
    parser.add_argument(
        "--write", type=Path, help="write the figures as JSON to this file; with --only beside what it has"
    )
    parser.add_argument("--table", type=Path, help="strike nothing: put the figures of this file into the docs")
    parser.add_argument("--bed", default="chaos", metavar="NAME", help="of the bed; two at a time need two names")
    options = parser.parse_args()
    if options.table:
        table.write(json.loads(options.table.read_text()), PAGE)
        return 0
    faults = [BY_NAME[name] for name in options.only] if options.only else list(FAULTS)
    with bed(name=options.bed, nodes=3, gpus_per_node=4, s3=True, keep=bool(os.environ.get("PACELINE_KEEP_BED"))) as b:
        stack = stacks.on_bed(b)
        stack.install()
        figures: dict[str, Any] = {"paceline": [], "torchrun": []}
        if options.only and options.write and options.write.exists():
            figures = json.loads(options.write.read_text())  # the other faults keep theirs
        figures["machine"] = _machine()
        failed = _ours(b, stack, faults, figures, options.write)
        if not options.without_torchrun:
            _torchrun(b, stack, faults, figures, options.write)
    print("\n" + table.render(figures))
    for name, why in failed:
        print(f"\nFAILED {name}: {why}")
    return 1 if failed else 0


def _ours(
    b: Bed, stack: Stack, faults: Iterable[Fault], figures: dict[str, Any], file: Path | None
) -> list[tuple[str, str]]:
    failed = []
    for fault in faults:
        space = Workspace.create(stack, b.s3, f"chaos-{uuid.uuid4().hex[:8]}")
        try:
            job = digits(space, args=ARGS, **fault.edits)
            outcome = trial.run(Arena(b, space, "digits"), fault, job, epochs=EPOCHS)
            _keep(figures, "paceline", asdict(outcome), file)
            print(f"ok     {fault.name}: {outcome}", flush=True)
        except AssertionError as error:
            failed.append((fault.name, str(error)))
            print(f"FAILED {fault.name}: {error}", flush=True)
            # What this fault has broken must not be counted as the next one's.
            if not b.healthy():
                print("the bed is not well: later faults may fail for that", flush=True)
        finally:
            space.delete()
    return failed


def _torchrun(b: Bed, stack: Stack, faults: Iterable[Fault], figures: dict[str, Any], file: Path | None) -> None:
    for fault in faults:
        if fault.torchrun:
            outcome = torchrun.run(b, stack, fault)
            _keep(figures, "torchrun", asdict(outcome), file)
            print(f"torchrun, {fault.name}: {outcome}", flush=True)


def _keep(figures: dict[str, Any], whose: str, row: dict[str, Any], file: Path | None) -> None:
    """Half an hour of faults must not be lost with the last of them."""
    others = [known for known in figures[whose] if known["fault"] != row["fault"]]
    figures[whose] = sorted([*others, row], key=lambda known: list(BY_NAME).index(known["fault"]))
    if file:
        file.write_text(json.dumps(figures, indent=2) + "\n")


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"


if __name__ == "__main__":
    sys.exit(main())
