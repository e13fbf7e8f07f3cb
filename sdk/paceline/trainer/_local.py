"""A run on this machine: attempt after attempt, until one succeeds or no restart is left."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paceline import _contract as c
from paceline import _trackers
from paceline._python import SAFE_PATH
from paceline.trainer import _console, _gpus, _outcome, _scratch, _surroundings, _task
from paceline.trainer._attempt import Attempt
from paceline.trainer._plan import Plan
from paceline.trainer._scratch import Scratch

if TYPE_CHECKING:
    from paceline.train._failure import TrainingFailedError
    from paceline.train._result import Result
    from paceline.train._run_settings import RunSettings

GRACE_S = 30


@dataclass(frozen=True, slots=True)
class LocalRun:
    """What all attempts of a run have in common."""

    plan: Plan
    settings: RunSettings
    scratch: Scratch
    run_id: str
    world_size: int
    devices: tuple[str, ...]
    filesystem_file: Path | None

    def environment(self, attempt: int) -> dict[str, str]:
        """For the agent of an attempt; every attempt has ports of its own."""
        framework = self.plan.framework
        master, *ports = _surroundings.free_ports(1 + framework.ports(self.world_size))
        settings = self.settings.environment(self.filesystem_file, resume_from=self.plan.resume_from)
        if self._is_the_store():
            # What the workers write lies in the run's directory already.
            settings.pop(c.ARTIFACTS, None)
        return {
            **_trackers.variables(self.settings.tracking),
            **_surroundings.inherited(os.environ),
            **_surroundings.devices(self.devices),
            "PYTHONPATH": _surroundings.python_path(sys.path, str(Path.cwd())),
            **_surroundings.ranks(self.world_size, master),
            **framework.environment(ports, self.world_size),
            **settings,
            c.JOB: self.settings.name,
            c.RUN_ID: self.run_id,
            c.ATTEMPT: str(attempt),
            c.FRAMEWORK: framework.name,
            c.AGENT_HOST: _surroundings.LOOPBACK,
            c.AGENT_PORT: "0",
            c.AGENT_DIR: str(self.scratch.agent(attempt)),
            c.TERMINATION_LOG: str(self.scratch.message(attempt)),
            c.WORK_DIR: str(self.scratch.work),
            c.GRACE_SECONDS: str(GRACE_S),
        }

    def start(
        self, attempt: int, command: Sequence[str], console: _console.Console, *, in_process: bool = False
    ) -> Attempt:
        """Start the agent of an attempt, with this command in every process."""
        return Attempt(
            command,
            self.environment(attempt),
            # Not where the workers write: a module that one of them leaves there would be the agent's.
            cwd=self.scratch.directory,
            lock=self.scratch.lock,
            show=console.show,
            # Of a function in this process, what it started may be part of the debugging.
            sweep=not in_process,
        )

    def outcome(self, attempt: int, returncode: int) -> _outcome.Outcome:
        """How an attempt ended."""
        try:
            message = self.scratch.message(attempt).read_bytes()
        except OSError:
            message = None
        return _outcome.read(message, returncode)

    def result(self) -> Result:
        """What the run has left until now."""
        from paceline.train._result import Result

        return Result.from_path(self.settings.run_path, self.settings.storage_filesystem)

    def error(self, outcome: _outcome.Outcome, attempt: int) -> TrainingFailedError:
        """The failure as an exception: as it is kept in the run's directory, or as the agent told it."""
        from paceline.train._failure import TrainingFailedError

        assert outcome.failure is not None
        told = {**outcome.failure.to_json(), "attempt": attempt}
        if not outcome.told:
            self._keep(told)
        error = TrainingFailedError.from_failure(told)
        with contextlib.suppress(Exception):  # a store that failed may be what this is about
            kept = self.result().error
            if kept is not None and (kept.attempt, kept.message) == (attempt, error.message):
                error = kept  # whole: the agent's last word is cut to 4 KB
        error.path = self.settings.run_path
        return error

    def _keep(self, told: dict[str, object]) -> None:
        """An agent that was killed wrote nothing; who reads the run later shall see why it ended all the same."""
        import json

        from paceline.train._location import Location

        with contextlib.suppress(Exception):
            run = Location(self.settings.run_path, self.settings.storage_filesystem)
            run.storage.write(f"{run.path}/{c.STATE_DIR}/{c.ERROR_FILE}", json.dumps(told, indent=1).encode())

    def _is_the_store(self) -> bool:
        run = self.settings.run_path
        return self.settings.storage_filesystem is None and Path(run) == Path(self.settings.local_directory)


def fit(plan: Plan, *, in_process: bool) -> Result:
    """Run a plan on this machine.

    Raises:
        TrainingFailedError: No restart is left.
        TypeError, ValueError: Nothing has been started.
    """
    world_size = 1 if in_process else plan.scaling.num_workers
    _check(plan, world_size)
    devices = _gpus.choose(os.environ, workers=world_size, per_worker=plan.scaling.gpus_per_worker)
    settings = plan.run.resolve(prefix=plan.name_prefix)
    task = b"" if in_process else _task.dumps(plan.task, same_files=True)
    with _scratch.make(settings.local_directory) as scratch:
        filesystem_file = None
        if settings.storage_filesystem is not None:
            from paceline.train._run_settings import write_filesystem

            filesystem_file = write_filesystem(settings.storage_filesystem, scratch.directory)
        run = LocalRun(plan, settings, scratch, secrets.token_hex(8), world_size, devices, filesystem_file)
        # A table that is drawn again and again leaves no room for a debugger.
        console = _console.Plain() if in_process else _console.choose(settings.name, settings.failures.max_failures)
        try:
            console.say(f"run {settings.name}: {_workers(plan, world_size)}, kept in {settings.run_path}")
            console.say(f"the workers' working directory, where relative paths lie: {scratch.work}")
            if in_process:
                from paceline.trainer import _in_process

                return _in_process.run(run, console)
            file = scratch.directory / "task"
            file.write_bytes(task)
            return _until_done(run, [sys.executable, *SAFE_PATH, "-m", "paceline.trainer.worker", str(file)], console)
        finally:
            console.close()


def _until_done(run: LocalRun, command: Sequence[str], console: _console.Console) -> Result:
    failures = []
    max_failures = run.settings.failures.max_failures
    attempt = 0
    while True:
        outcome = run.outcome(attempt, _follow(run, attempt, command, console))
        if outcome.kind == "succeeded":
            return run.result()
        if outcome.kind == "terminated":
            raise stopped(run)
        failures.append(_outcome.past(outcome, time.time()))
        decided = _outcome.next_try(outcome, failures, max_failures=max_failures)
        if decided is None:
            raise run.error(outcome, attempt)
        console.say(
            _outcome.sentence(outcome, attempt=attempt, max_failures=max_failures, after_s=decided.after_s), urgent=True
        )
        time.sleep(decided.after_s)
        attempt += 1


def _follow(run: LocalRun, attempt: int, command: Sequence[str], console: _console.Console) -> int:
    """One attempt to its end; its agent's exit code."""
    started = run.start(attempt, command, console)
    try:
        console.attempt(attempt, run.scratch.agent(attempt))
        code = wait(started, console)
    finally:
        started.close()
    return code


def wait(started: Attempt, console: _console.Console) -> int:
    """Wait for the end of an attempt. Ctrl-C ends it: the first one gently, a second one at once.

    Raises:
        BaseException: KeyboardInterrupt, or what a signal's handler of the caller has raised; after the attempt has
            ended, or for the second one.
    """
    try:
        code = started.wait()
    except BaseException as e:
        what = "Ctrl-C" if isinstance(e, KeyboardInterrupt) else type(e).__name__
        console.say(
            f"{what}: the workers end, and what they reported is stored; once more ends them at once", urgent=True
        )
        started.terminate()
        started.wait()
        raise
    assert code is not None
    return code


def stopped(run: LocalRun) -> TrainingFailedError:
    """Somebody has sent the agent SIGTERM, and it was not this process."""
    from paceline.train._failure import TrainingFailedError

    error = TrainingFailedError(
        f"the run was stopped from outside (SIGTERM): RunConfig(name={run.settings.name!r}) goes on from its latest"
        " checkpoint",
        reason="Stopped",
    )
    error.path = run.settings.run_path
    return error


def _check(plan: Plan, world_size: int) -> None:
    if plan.scaling.placement_strategy == "STRICT_SPREAD" and world_size > 1:
        raise ValueError(
            f"ScalingConfig.placement_strategy is 'STRICT_SPREAD', a machine for each of {world_size} workers, and this"
            " is one machine: use 'PACK', or run on a cluster with backend=Kubernetes(...)"
        )


def _workers(plan: Plan, world_size: int) -> str:
    if world_size == 1:
        return f"{plan.function_name} in 1 worker"
    return f"{plan.function_name} in {world_size} workers"
