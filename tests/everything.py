"""`make test`: every stage, with its time; the test bed is built meanwhile.

What needs no test bed comes first: a typing mistake is told within a minute. The Go builds and images of the test bed
take minutes on a machine that has nothing cached; they run beside those stages, and what they print goes to a file that
is shown when they fail. Then three lanes run side by side, since no stage alone keeps two cores busy: what each printed
follows when it has ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

PLAIN_STAGES = ("lint", "types", "unit")
# The stages of one lane run in turn. The jobs on real nodes take longest and mostly wait, so they begin at once, in a
# lane of their own; the simulation knows no time but its own, so it takes what the others leave at the end.
LANES = (("integration", "e2e-disturbing", "simulation"), ("frameworks", "crash"), ("e2e-jobs",))
BED_STAGE = "test bed"
_TELL_S = 60  # between signs of life
# The servers are in Go, and memory is to spare: by its own count, an API server collected garbage for 8 s of 11 minutes
# with it, for 42 s of 13 without.
_GO = {"GOGC": "400"}


@dataclass(frozen=True, slots=True)
class Took:
    """What a stage took and how it ended."""

    stage: str
    wall_s: float
    cpu_s: float  # of what it waited for: servers that it left behind are not in it
    passed: bool


def main() -> int:
    """Run the stages; return 1 when one of them failed, 0 when all passed."""
    took: list[Took] = []
    with tempfile.TemporaryFile("w+") as log:
        build = subprocess.Popen([sys.executable, "-m", "e2e.cluster", "build"], stdout=log, stderr=log)
        try:
            ok = all(_loud(stage, took) for stage in PLAIN_STAGES) and _built(build, log, took)
        finally:
            if build.poll() is None:
                build.terminate()
                build.wait()
    if ok:
        # All, also when one fails: their failures are told apart by seeing all.
        _side_by_side(took)
    print("\n=== summary (wall and CPU seconds)")
    for of in took:
        print(f"{'ok    ' if of.passed else 'FAILED'} {of.stage:15} {of.wall_s:6.0f} {of.cpu_s:6.0f}")
    return 0 if ok and all(of.passed for of in took) else 1


def _loud(stage: str, took: list[Took]) -> bool:
    print(f"\n=== {stage}", flush=True)
    took.append(_run(stage))
    return took[-1].passed


def _run(stage: str, log: IO[str] | None = None, env: Mapping[str, str] | None = None) -> Took:
    started = time.monotonic()
    make = subprocess.Popen(
        ["make", "--no-print-directory", stage], stdout=log, stderr=log and subprocess.STDOUT, env=env
    )
    _, status, usage = os.wait4(make.pid, 0)
    make.returncode = os.waitstatus_to_exitcode(status)
    return Took(stage, time.monotonic() - started, usage.ru_utime + usage.ru_stime, make.returncode == 0)


def _side_by_side(took: list[Took]) -> None:
    # With every commit another part of what repeats the rest: `make crash` and `make simulation` try all of it.
    commit = _commit()
    env = {"CRASH_SAMPLE": commit, "SIMULATION_SAMPLE": commit, **_GO, **os.environ}
    telling = threading.Lock()

    def run(lane: Sequence[str]) -> None:
        for stage in lane:
            with tempfile.TemporaryFile("w+") as log:
                ended = _run(stage, log, env)
                log.seek(0)
                with telling:
                    took.append(ended)
                    print(f"\n=== {stage}\n{log.read()}", flush=True)

    print(f"\n=== side by side: {', '.join(' then '.join(lane) for lane in LANES)}", flush=True)
    started = time.monotonic()
    lanes = [threading.Thread(target=run, args=(lane,)) for lane in LANES]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        while lane.is_alive():
            lane.join(_TELL_S)
            with telling:
                print(f"{time.monotonic() - started:.0f} s", flush=True)


def _commit() -> str:
    told = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=False)
    return told.stdout.strip() or "no-commit"


def _built(build: subprocess.Popen[bytes], log: IO[str], took: list[Took]) -> bool:
    """Wait for the test bed's binaries and images; show what the build said when it failed."""
    print(f"\n=== {BED_STAGE}", flush=True)
    started = time.monotonic()
    while True:
        try:
            build.wait(timeout=_TELL_S)
            break
        except subprocess.TimeoutExpired:
            print(f"building the test bed: {time.monotonic() - started:.0f} s", flush=True)
    passed = build.returncode == 0
    log.seek(0)
    print(log.read() if not passed else "binaries and images are there", flush=True)
    took.append(Took(BED_STAGE, time.monotonic() - started, 0.0, passed))
    return passed


if __name__ == "__main__":
    sys.exit(main())
