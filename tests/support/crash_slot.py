"""Runs crash cases, one after the other, in a process without threads, so that it may fork agents."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from tests.support import crash_checker, crash_server
from tests.support.crash_case import Case, Outcome
from tests.support.crash_checker import Seen
from tests.support.crash_pods import Pods, free_ports
from tests.support.crash_points import Plan, read_lines, syncing

KEEP = "CRASH_KEEP"  # environment variable: leave the directories of the cases in place
_FIRST_PORT, _PORTS = 21000, 1000  # below the ephemeral ports, a range for each slot


class Slot:
    """Cases below one directory, with an S3 server of its own where one needs it."""

    def __init__(self, directory: Path, number: int) -> None:
        self._directory = directory
        self._ports = free_ports(_FIRST_PORT + number * _PORTS, _PORTS)
        self._count = 0
        self._server: crash_server.Server | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def run(self, case: Case) -> Outcome:
        """One case, with all that must hold after it."""
        begun = time.monotonic()
        outcome = Outcome(case.id)
        seen, pods = self._new(case, None)
        try:
            self._play(case, seen, pods)
            outcome.reached = all((seen.case / f"fired-{shot.attempt}").exists() for shot in case.shots)
        except Exception as e:
            seen.say(f"{type(e).__name__}: {e}")
        finally:
            pods.end(self._server.pid if self._server else None)
        outcome.problems = list(dict.fromkeys(seen.problems))
        if outcome.problems:
            logs = sorted(seen.case.glob("log-*"))
            outcome.log = "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in logs)
        if not os.environ.get(KEEP):
            shutil.rmtree(seen.case, ignore_errors=True)
        outcome.seconds = time.monotonic() - begun
        return outcome

    def record(self, case: Case, attempt: int) -> dict[str, list[dict[str, Any]]]:
        """The points of each process of `attempt`, after the earlier ones were hit by the shots of `case`."""
        seen, pods = self._new(case, attempt)
        try:
            for number in range(attempt + 1):
                pods.attempt(number, next((s for s in case.shots if s.attempt == number), None), tick=self._tick)
        finally:
            pods.end(self._server.pid if self._server else None)
        found = {path.name.removeprefix("points-"): read_lines(path) for path in seen.case.glob("points-*")}
        shutil.rmtree(seen.case)
        return found

    def close(self) -> None:
        """End the server and remove what is left."""
        if self._server is not None:
            self._server.close()
        if not os.environ.get(KEEP):
            shutil.rmtree(self._directory, ignore_errors=True)

    def _new(self, case: Case, record: int | None) -> tuple[Seen, Pods]:
        self._count += 1
        directory = self._directory / f"c{self._count}"
        directory.mkdir()
        if case.store == "local":
            run, uri, more = directory / "storage/run", str(directory / "storage"), {}
        else:
            server = self._serve()
            (directory / "pid-server").write_text(str(server.pid))
            bucket = f"case-{self._count}"
            run = server.directory / bucket / "run"
            uri = f"s3://{bucket}?endpoint_override=http://127.0.0.1:{server.port}&allow_bucket_creation=true"
            more = {"AWS_ACCESS_KEY_ID": crash_server.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": crash_server.SECRET_KEY}
        Plan(case.shots, record, case.store, str(run), case.broken, case.form).write(directory)
        return Seen(directory, run, case.form), Pods(directory, case.form, uri, more, self._ports)

    def _serve(self) -> crash_server.Server:
        if self._server is None:
            self._server = crash_server.Server(self._directory / "s3", next(self._ports))
        self._server.keep()
        self._server.wait()
        return self._server

    @property
    def _tick(self) -> Any:
        return self._server.keep if self._server is not None else None

    def _play(self, case: Case, seen: Seen, pods: Pods) -> None:
        shots = {shot.attempt: shot for shot in case.shots}
        last = max(shots) + 1
        complete: list[int] = []  # attempts of which result.json must have every report
        frozen = next((shot.attempt for shot in case.shots if shot.action == "stop"), None)
        for number in range(last + 1):
            shot = shots.get(number)
            wanted = crash_checker.resumable(seen.run)
            codes = pods.attempt(number, shot, tick=self._tick)
            when = f"after attempt {number}"
            if any(codes.values()) and (shot is None or shot.victim == "server" or shot.action == "drop"):
                seen.say(f"{when}: its agents ended with {codes}")
            crash_checker.look(seen, when)
            if case.store == "local":
                crash_checker.result(seen, when)
            crash_checker.attempt_resumed(seen, number, wanted)
            if shot is None or crash_checker.promises_all_reports(shot):
                crash_checker.reported(seen, number)
                complete.append(number)
            crash_checker.waited(seen, number)
            crash_checker.results(seen, complete)
            for who in pods.agents:
                crash_checker.message(seen, seen.case / f"{number}-{who}/termination", f"{who} of attempt {number}")
        before = crash_checker.snapshot(seen.run)
        if frozen is not None:
            old_lines = syncing(seen.case, frozen).exists()
            pods.come_back(frozen)
            crash_checker.look(seen, "when the old attempt came back")
            crash_checker.unchanged(seen, before, "when the old attempt came back")
            if old_lines:
                # A check of the fence and a write are two steps: frozen between them, it puts old lines there. The
                # checkpoints have decisions against that; run files have not (docs/design/0003, limits).
                seen.lines, complete = [], []
        self._look_again(seen, pods, last + 1)
        crash_checker.unchanged(seen, before, "in the last attempt")
        crash_checker.look(seen, "at the end")
        crash_checker.settled(seen)
        crash_checker.results(seen, complete)

    @staticmethod
    def _look_again(seen: Seen, pods: Pods, number: int) -> None:
        """One more attempt, which reports nothing: it must find the latest, and clean up."""
        told = seen.case / "resumed"
        wanted = crash_checker.resumable(seen.run)
        if code := pods.look_again(number, told):
            seen.say(f"the last attempt ended with {code}")
            return
        resumed = json.loads(told.read_text() or "{}").get("path", "")
        if crash_checker.checkpoint_name(resumed) != (wanted or ""):
            seen.say(f"the last attempt resumed from {resumed}, not from {wanted}")
        crash_checker.message(seen, seen.case / f"{number}-lead/termination", "the last attempt")
