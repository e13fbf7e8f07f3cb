"""`make test`: every stage in turn, with its time; the test bed is built meanwhile.

The Go builds and images of the test bed take minutes on a machine that has nothing cached. They run beside the stages
that need no cluster; what they print goes to a file that is shown when they fail. What waits half of its time runs
beside what never waits: the integration tests beside the crash matrix, the end-to-end tests beside the simulation,
which knows no time but its own. What each printed follows when both have ended.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import IO

# What needs no test bed comes first: a typing mistake is told within a minute.
PLAIN_STAGES = ("lint", "types", "unit")
# What stands in one line runs side by side.
PAIRS = (("integration", "crash"), ("e2e", "simulation"))
BED_STAGE = "test bed"
_TELL_S = 60  # between signs of life


def main() -> int:
    """Run the stages; return 1 when one of them failed, 0 when all passed."""
    took: list[tuple[str, float, bool]] = []
    with tempfile.TemporaryFile("w+") as log:
        build = subprocess.Popen([sys.executable, "-m", "e2e.cluster", "build"], stdout=log, stderr=log)
        try:
            ok = all(_stage(stage, took) for stage in PLAIN_STAGES) and _built(build, log, took)
        finally:
            if build.poll() is None:
                build.terminate()
                build.wait()
    if ok:
        # All, also when one fails: their failures are told apart by seeing all.
        for pair in PAIRS:
            _side_by_side(pair, took)
    print("\n=== summary")
    for stage, seconds, passed in took:
        print(f"{'ok    ' if passed else 'FAILED'} {stage:12} {seconds:6.0f} s")
    return 0 if ok and all(passed for _, _, passed in took) else 1


def _stage(stage: str, took: list[tuple[str, float, bool]]) -> bool:
    print(f"\n=== {stage}", flush=True)
    started = time.monotonic()
    passed = subprocess.run(["make", "--no-print-directory", stage], check=False).returncode == 0
    took.append((stage, time.monotonic() - started, passed))
    return passed


def _side_by_side(stages: Sequence[str], took: list[tuple[str, float, bool]]) -> None:
    name = " and ".join(stages)
    print(f"\n=== {name}", flush=True)
    started = time.monotonic()
    with ExitStack() as files, ThreadPoolExecutor(len(stages)) as pool:
        logs = {stage: files.enter_context(tempfile.TemporaryFile("w+")) for stage in stages}
        running = [pool.submit(_into, log, stage, took) for stage, log in logs.items()]
        while wait(running, timeout=_TELL_S).not_done:
            print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        for stage, log in logs.items():
            log.seek(0)
            print(f"\n--- {stage}\n{log.read()}", flush=True)
        for ended in running:
            ended.result()


def _into(log: IO[str], stage: str, took: list[tuple[str, float, bool]]) -> None:
    started = time.monotonic()
    command = ["make", "--no-print-directory", stage]
    done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    took.append((stage, time.monotonic() - started, done.returncode == 0))


def _built(build: subprocess.Popen[bytes], log: IO[str], took: list[tuple[str, float, bool]]) -> bool:
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
    took.append((BED_STAGE, time.monotonic() - started, passed))
    return passed


if __name__ == "__main__":
    sys.exit(main())
