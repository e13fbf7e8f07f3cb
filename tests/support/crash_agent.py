"""An agent of a crash case: the real one, forked from a process that has imported it, with points around what it does.

Nothing of the agent is replaced but the very start of its training processes (`crash_workers`). Its store's methods,
the HTTP requests of the S3 client, its messages to the lead and its answers to the training processes are wrapped, and
pauses are shortened so that a case takes a fraction of a second.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paceline.storage._s3_client import Access
from paceline.storage._s3_options import S3Options
from tests.support import crash_broken, crash_watch, crash_workers
from tests.support.crash_points import CASE, Points

# Pauses of the agent, in seconds: long ones save CPU in a pod, and only cost time here.
PAUSES = {
    "_BUSY_BEAT_S": 0.02,
    "_CALM_BEAT_S": 0.05,
    "_TICK_S": 0.05,
    "_WRITE_S": 0.01,
    "_FINISH_TICK_S": 0.01,
    "_SURVIVORS_S": 2.0,
    "_SILENT_S": 1.0,  # a beat of 0.02 s may take a third of a second on busy cores
    "LEAST_S": 3600.0,  # the run files are stored at each commit and at the end, not by the clock
    "_LAST_OUTPUT_S": 0.05,
    "FIRST_WAIT_S": 0.02,
    "LONGEST_WAIT_S": 0.2,
}


@functools.cache
def modules() -> list[Any]:
    """Every module of the agent and of storage that can be imported here."""
    found = []
    for package in ("paceline.agent", "paceline.storage"):
        path = importlib.import_module(package).__path__
        for info in pkgutil.iter_modules(path):
            if info.name in ("main", "inject"):
                continue  # programs
            try:
                found.append(importlib.import_module(f"{package}.{info.name}"))
            except ImportError:
                continue  # a store whose client is not installed
    return found


def preload() -> None:
    """Import all that an agent imports before its first step, and read the S3 client's models once for all forks."""
    import asyncio.unix_events
    import encodings.idna
    import gc

    import google_crc32c

    for module in (*modules(), asyncio.unix_events, encodings.idna, google_crc32c):
        assert module
    crash_workers.preload()
    for name in ("paceline.agent.main", "paceline.train._result", "paceline.train._run_directory"):
        importlib.import_module(name)
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"  # else it looks for credentials at an address outside
    # The models that it reads stay in memory for the clients of all forks.
    Access(S3Options(region="us-east-1")).client.close()
    assert _pauses()
    gc.collect()
    gc.freeze()


@functools.cache
def _pauses() -> list[tuple[Any, str]]:
    return [(module, name) for module in modules() for name in PAUSES if hasattr(module, name)]


def unknown_pauses() -> set[str]:
    """Names in PAUSES that no module has any more."""
    return PAUSES.keys() - {name for _, name in _pauses()}


def fork(environment: Mapping[str, str], command: Sequence[str], log: Path) -> int:
    """Start an agent in a child of this process, and return the child's id."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.closerange(3, 256)
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(environment)
        code = _live(command)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _live(command: Sequence[str]) -> int:
    from paceline.agent import process
    from paceline.agent.main import main

    # Before anything of this agent is in the memory that they are copies of.
    crash_workers.install(process, int(os.environ["LOCAL_WORLD_SIZE"]))
    case, node = Path(os.environ[CASE]), int(os.environ["NODE_RANK"])
    points = Points(case, f"agent{node}" if node else "lead", int(os.environ["PACELINE_ATTEMPT"]))
    points.await_agents(int(os.environ["WORLD_SIZE"]) // int(os.environ["LOCAL_WORLD_SIZE"]))
    for module, name in _pauses():
        setattr(module, name, PAUSES[name])
    # Broken before it is watched, so that the points lie around what it does then.
    crash_broken.install(points.plan.broken)
    crash_watch.watch(points)
    return main(["--", *command])
