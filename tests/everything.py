"""`make test`: every stage, with its time; the test bed is built meanwhile.

Lint and types come first: a typing mistake is told within a minute. The Go builds and images of the test bed
and the environments with torch and TensorFlow take minutes on a machine that has nothing cached; they run beside those
stages, and what they print goes to files that are shown when they fail. Stages run in lanes side by side, since none
alone keeps two cores busy: what each printed follows when it has ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO

FIRST_LANES = (("lint", "types"),)
# The stages of one lane run in turn. The jobs on real nodes take longest and mostly wait, so they begin at once, in a
# lane of their own; the simulation knows no time but its own, so it takes what the others leave at the end.
LANES = (("integration", "e2e-disturbing", "simulation"), ("unit", "frameworks", "crash"), ("e2e-jobs",))
PREPARATIONS = {"test bed": "test-bed", "environments": "environments"}  # what is told -> target of the Makefile
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
    with ExitStack() as stack:
        prepared = [stack.enter_context(_Preparation(*each)) for each in PREPARATIONS.items()]
        # All lanes, also when a stage fails: their failures are told apart by seeing all.
        _side_by_side(FIRST_LANES, took)
        ok = all(of.passed for of in took) and all(each.wait(took) for each in prepared)
    if ok:
        _side_by_side(LANES, took)
    print("\n=== summary (wall and CPU seconds)")
    for of in took:
        print(f"{'ok    ' if of.passed else 'FAILED'} {of.stage:15} {of.wall_s:6.0f} {of.cpu_s:6.0f}")
    return 0 if ok and all(of.passed for of in took) else 1


class _Preparation:
    """Makes what stages need, beside those that do not need it."""

    def __init__(self, name: str, target: str) -> None:
        self._name = name
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed at the end of this context
        self._make = subprocess.Popen(["make", "--no-print-directory", target], stdout=self._log, stderr=self._log)

    def __enter__(self) -> _Preparation:
        return self

    def __exit__(self, *_: object) -> None:
        if self._make.poll() is None:
            self._make.terminate()
            self._make.wait()
        self._log.close()

    def wait(self, took: list[Took]) -> bool:
        """Wait for its end; show what it printed when it failed."""
        print(f"\n=== {self._name}", flush=True)
        started = time.monotonic()
        while True:
            try:
                self._make.wait(timeout=_TELL_S)
                break
            except subprocess.TimeoutExpired:
                print(f"making it: {time.monotonic() - started:.0f} s", flush=True)
        passed = self._make.returncode == 0
        self._log.seek(0)
        print("there" if passed else self._log.read(), flush=True)
        took.append(Took(self._name, time.monotonic() - started, 0.0, passed))
        return passed


def _run(stage: str, log: IO[str], env: Mapping[str, str]) -> Took:
    started = time.monotonic()
    make = subprocess.Popen(["make", "--no-print-directory", stage], stdout=log, stderr=log, env=env)
    _, status, usage = os.wait4(make.pid, 0)
    make.returncode = os.waitstatus_to_exitcode(status)
    return Took(stage, time.monotonic() - started, usage.ru_utime + usage.ru_stime, make.returncode == 0)


def _side_by_side(lanes: Sequence[Sequence[str]], took: list[Took]) -> None:
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

    print(f"\n=== side by side: {', '.join(' then '.join(lane) for lane in lanes)}", flush=True)
    started = time.monotonic()
    threads = [threading.Thread(target=run, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_TELL_S)
            with telling:
                print(f"{time.monotonic() - started:.0f} s", flush=True)


def _commit() -> str:
    told = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=False)
    return told.stdout.strip() or "no-commit"


if __name__ == "__main__":
    sys.exit(main())
