"""Runs crash cases in parallel: each slot is a process without threads, which forks the agents of its cases."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.support.crash_case import Case, Outcome
from tests.support.crash_slot import Slot

ROOT = Path(__file__).resolve().parents[2]
_TRIES = 3  # a point may be missed where processes took their steps in another order


class Pool:
    """Slots that take cases from one queue."""

    def __init__(self, slots: int | None = None) -> None:
        # A case waits as long as it works: two slots for each core keep the cores busy.
        self.slots = slots or int(os.environ.get("CRASH_SLOTS", 0)) or 2 * len(os.sched_getaffinity(0))
        memory = Path("/dev/shm")
        # In memory, where a synced file costs nothing: SIGKILL loses no page of a file.
        self._directory = tempfile.TemporaryDirectory(
            prefix="pcc-", dir=memory if os.access(memory, os.W_OK) else None, ignore_cleanup_errors=True
        )
        self._idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
        self._all = [self._start(number) for number in range(self.slots)]

    def run(self, cases: Iterable[Case], *, done: Callable[[Outcome], bool] | None = None) -> list[Outcome]:
        """Run all, in order; `done` is told each outcome, and ends the rest when it returns true."""
        todo = iter(cases)
        outcomes: list[Outcome] = []
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    case = next(todo, None)
                if case is None:
                    return
                outcome = self._one(case)
                with lock:
                    outcomes.append(outcome)
                    if done is not None and done(outcome):
                        for _ in todo:
                            pass

        threads = [threading.Thread(target=work) for _ in self._all]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcomes

    def record(self, case: Case, attempt: int) -> dict[str, list[dict[str, Any]]]:
        """See `Slot.record`."""
        found: dict[str, list[dict[str, Any]]] = self._ask({"record": case.id, "attempt": attempt})
        return found

    def close(self) -> None:
        """End all."""
        for process in self._all:
            assert process.stdin
            process.stdin.close()
        for process in self._all:
            process.wait(30)
        self._directory.cleanup()

    def _one(self, case: Case) -> Outcome:
        for _ in range(_TRIES):
            outcome = Outcome(**self._ask({"case": case.id}))
            if outcome.reached or outcome.problems:
                break
        return outcome

    def _ask(self, told: dict[str, Any]) -> Any:
        process = self._idle.get()
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps(told) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        finally:
            self._idle.put(process)
        if not line:
            raise AssertionError(f"a slot has ended with {process.poll()} at {told}")
        return json.loads(line)

    def _start(self, number: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.crash.pool", str(Path(self._directory.name) / str(number)), str(number)]
        path = os.pathsep.join(str(ROOT / part) for part in ("", "sdk", "operator"))
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._idle.put(process)
        return process


def main(directory: str, number: int) -> None:
    """One slot: requests come as lines of JSON, answers go back so."""
    from tests.support import crash_agent

    crash_agent.preload()
    # The agents and what they print must not reach the line to the pool.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    slot = Slot(Path(directory), number)
    # So that the S3 server ends with a pool that is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for line in sys.stdin:
            told = json.loads(line)
            if "case" in told:
                answer: Any = asdict(slot.run(Case.from_id(told["case"])))
            else:
                answer = slot.record(Case.from_id(told["record"]), told["attempt"])
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    finally:
        slot.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
