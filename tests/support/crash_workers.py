"""Training processes of a crash case, forked instead of started: a start of Python is half of what a case takes.

An agent of a case has its workers forked before its own first step, while it is a process without threads, points or
state. There they wait, its children, until the agent starts its command. Then they become what a started process would
be: a session of its own, the agent's pipes, its environment, its directory. Everything else that the agent does with
them is its own: signals, the death of a group, exit codes, what they print.
"""

from __future__ import annotations

import array
import faulthandler
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support import crash_script

SCRIPT = Path(crash_script.__file__)
_MESSAGE = 1 << 18  # bytes; the environment of a worker is a few kB


def preload() -> None:
    """Import what the script imports, once for all forks."""
    from paceline.train import _checkpoint, _client, _copies, _handover, _location, _reading, _report
    from tests.support import crash_broken_worker, crash_points

    for module in (_checkpoint, _client, _copies, _handover, _location, _reading, _report):
        assert module
    assert crash_broken_worker
    assert crash_points


class Child:
    """What the agent knows of a started process: the part of `subprocess.Popen` that it uses."""

    def __init__(self, pid: int, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.stdout, self.stderr = os.fdopen(stdout, "rb"), os.fdopen(stderr, "rb")
        self._returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative: the signal; None while it lives."""
        if self._returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._returncode = os.waitstatus_to_exitcode(status)
        return self._returncode

    def send_signal(self, number: int) -> None:
        """To it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Subprocess:
    """Stands in for the module `subprocess` in the agent's `process`."""

    PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL

    def __init__(self, count: int) -> None:
        """Fork `count` workers that wait."""
        self._waiting: list[tuple[int, socket.socket]] = []
        for _ in range(count):
            ours, its = socket.socketpair()
            pid = os.fork()
            if not pid:
                for _, other in self._waiting:
                    other.close()
                ours.close()
                _wait(its)
            its.close()
            self._waiting.append((pid, ours))

    def Popen(self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, **options: Any) -> Any:  # noqa: N802
        """Hand the start to a waiting worker; other programs than the script are really started."""
        if str(SCRIPT) not in command:
            return subprocess.Popen(command, env=env, cwd=cwd, **options)
        assert (options["stdout"], options["stderr"], options["start_new_session"]) == (self.PIPE, self.PIPE, True)
        pid, line = self._waiting.pop(0)
        out, its_out = os.pipe()
        err, its_err = os.pipe()
        descriptors = array.array("i", (its_out, its_err)).tobytes()
        told = json.dumps({"env": dict(env), "cwd": str(cwd)}).encode()
        assert len(told) < _MESSAGE
        line.sendmsg([told], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        os.close(its_out)
        os.close(its_err)
        assert line.recv(1) == b".", "the worker did not start"
        line.close()
        return Child(pid, out, err)


def install(process: ModuleType, count: int) -> None:
    """Let the agent's module `process` start the script in forks of this process, of which there are `count`."""
    process.subprocess = Subprocess(count)  # type: ignore[attr-defined]


def _wait(line: socket.socket) -> None:
    """In a worker: wait for the start, train, end; never returns."""
    code = 70
    try:
        told, ancillary, *_ = line.recvmsg(_MESSAGE, socket.CMSG_SPACE(2 * array.array("i").itemsize))
        if not told:
            os._exit(0)  # the agent has ended without a start
        _become(json.loads(told), array.array("i", ancillary[0][2]))
        line.send(b".")
        os.closerange(3, 256)
        code = _train()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _become(told: dict[str, Any], pipes: Sequence[int]) -> None:
    os.setsid()
    os.chdir(told["cwd"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(pipes[0], 1)
    os.dup2(pipes[1], 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(told["env"])
    tempfile.tempdir = None  # as TMPDIR says
    faulthandler.enable()


def _train() -> int:
    from paceline.train import _report

    _report._install()  # what its import does in a worker
    try:
        crash_script.main()
    except SystemExit as e:
        if not isinstance(e.code, str):
            return int(e.code or 0)
        print(e.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0
