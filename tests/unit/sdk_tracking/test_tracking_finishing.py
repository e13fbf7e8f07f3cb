"""A run is finished once, however its process ends. Real processes; what is finished writes a line."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.agents import SDK
from tests.support.timeouts import LOCAL_S

BEGIN = """
import ctypes, os, signal, sys, threading, time
from paceline.tracking import _finishing
for kind in ("first", "last"):
    _finishing.add(kind, lambda ending, kind=kind: os.write(1, f"{kind} {ending}\\n".encode()))
def sigterm():
    os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.parametrize(
    ("then", "ending", "code"),
    [
        pytest.param("pass", "succeeded", 0, id="returns"),
        pytest.param("raise ValueError('boom')", "failed", 1, id="raises"),
        pytest.param("sys.exit(3)", "failed", 3, id="leaves with a code"),
        pytest.param("sys.exit('no data')", "failed", 1, id="leaves with a sentence"),
        pytest.param("threading.Thread(target=sys.exit, args=(3,)).start(); sys.exit(0)", "succeeded", 0, id="leaves"),
        pytest.param("_finishing.all_of('failed')", "failed", 0, id="was finished before"),
        pytest.param("sigterm(); time.sleep(60)", "stopped", -15, id="is told to end"),
        # No handler of Python's runs while the main thread is in native code: here, for ever.
        pytest.param(
            "lock = ctypes.create_string_buffer(64); libc = ctypes.CDLL(None)\n"
            "threading.Timer(0.2, sigterm).start()\n"
            "libc.pthread_mutex_lock(lock); libc.pthread_mutex_lock(lock)",
            "stopped",
            143,
            id="is told to end while it hangs in native code",
        ),
        # A handler of the user's decides: the process goes on and ends by itself.
        pytest.param("signal.signal(signal.SIGTERM, print); sigterm()", "succeeded", 0, id="handles SIGTERM itself"),
        # The run is the parent's, also where the child is ended by a signal or ends as any process does.
        pytest.param(
            "if not (pid := os.fork()): sys.exit()\nos.waitpid(pid, 0)\n"
            "if not (pid := os.fork()): sigterm(); time.sleep(60)\n"
            "assert os.waitpid(pid, 0)[1] == signal.SIGTERM\ntime.sleep(0.1)",
            "succeeded",
            0,
            id="has children",
        ),
    ],
)
def test_a_run_is_finished_once_when_its_process(then: str, ending: str, code: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(BEGIN) + then)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={"PYTHONPATH": str(SDK), "PACELINE_GRACE_SECONDS": "10"},
        capture_output=True,
        text=True,
        timeout=3 * LOCAL_S,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("first", "last"))]
    assert lines == [f"last {ending}", f"first {ending}"], done.stderr
    assert done.returncode == code, done.stderr


def test_a_run_that_hangs_is_left_behind_within_the_grace_period(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(BEGIN) + "_finishing.add('hangs', lambda ending: time.sleep(60))\nsigterm()")
    done = subprocess.run(
        [sys.executable, str(script)],
        env={"PYTHONPATH": str(SDK), "PACELINE_GRACE_SECONDS": "1"},
        timeout=3 * LOCAL_S,
    )
    assert done.returncode == -15
