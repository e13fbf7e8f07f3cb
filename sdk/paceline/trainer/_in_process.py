"""`fit(in_process=True)`: the function runs in this process, as rank 0 of 1, and breakpoints work.

A real agent is behind it: it runs a stand-in, and what that would see as a worker is this process's environment while
the function runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from paceline.train import _within
from paceline.trainer import _outcome, worker
from paceline.trainer._attempt import Attempt
from paceline.trainer._stand_in import END, ENVIRONMENT

if TYPE_CHECKING:
    from paceline.train._result import Result
    from paceline.trainer._console import Console
    from paceline.trainer._local import LocalRun

_LOOK_S = 0.01
# Of the interpreter that the agent would start, not of the run.
_NOT_OURS = {"PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONFAULTHANDLER"}


def run(run: LocalRun, console: Console) -> Result:
    """Run the function here.

    Raises:
        TrainingFailedError: It has raised, and that is the cause; or the store failed.
        KeyboardInterrupt, bdb.BdbQuit: As the function, or a debugger in it, was left.
    """
    directory = run.scratch.directory
    os.mkfifo(directory / END)
    # Both ways: to open it does not wait for the stand-in, and what is written stays until that has read it.
    end = os.open(directory / END, os.O_RDWR)
    started = run.start(
        0, [sys.executable, "-m", "paceline.trainer._stand_in", str(directory)], console, in_process=True
    )
    error: Exception | None = None
    code = 0
    try:
        console.attempt(0, run.scratch.agent(0))
        if _await_environment(started, directory / ENVIRONMENT):
            environ = {
                name: value
                for name, value in json.loads((directory / ENVIRONMENT).read_text()).items()
                if name not in _NOT_OURS
            }
            with _within.worker(environ), _in_directory(run.scratch.work):
                try:
                    worker.run(run.plan.task)
                except SystemExit as e:
                    code = e.code if isinstance(e.code, int) else int(e.code is not None)
                except Exception as e:
                    if type(e).__name__ == "BdbQuit":  # `q` in a debugger
                        raise
                    error, code = e, 1
                    _within.tell_exception(e.with_traceback(worker.below(e.__traceback__)))
            os.write(end, f"{code % 256}\n".encode())
        returncode = started.wait()
    except BaseException:
        started.terminate()
        started.wait()
        raise
    finally:
        started.close()
        os.close(end)
    assert returncode is not None
    return _result(run, run.outcome(0, returncode), error)


def _result(run: LocalRun, outcome: _outcome.Outcome, error: Exception | None) -> Result:
    from paceline.trainer._local import stopped

    if outcome.kind == "succeeded":
        return run.result()
    if outcome.kind == "terminated":
        raise stopped(run) from error
    raise run.error(outcome, 0) from error


def _await_environment(started: Attempt, file: Path) -> bool:
    """False: the agent has ended before it could start anything."""
    while not file.exists():
        if started.wait(_LOOK_S) is not None:
            return file.exists()
    return True


@contextlib.contextmanager
def _in_directory(directory: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)
