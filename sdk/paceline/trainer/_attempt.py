"""One attempt of a run on this machine: the agent as a subprocess, its output, its end."""

from __future__ import annotations

import codecs
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from paceline import _contract as c

_READ_BYTES = 64 * 1024
_GONE_S = 5.0

Show = Callable[[int, str], None]
"""Told what the agent and the workers print: 1 for stdout or 2 for stderr, and the text."""


class Attempt:
    """A running agent. It and its workers end when this process does, however that happens."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], *, cwd: Path, lock: int, show: Show, sweep: bool
    ) -> None:
        """Start the agent.

        Args:
            command: What it runs in every process.
            environ: Its whole environment.
            cwd: Its working directory.
            lock: A descriptor that it holds too.
            show: Called by threads.
            sweep: At the end, end what the function has started and left behind too, as the end of a pod does.
        Raises:
            ValueError: This Python does not know its own executable.
        """
        if not sys.executable:
            raise ValueError("fit() starts Python processes, and sys.executable is empty: run it from a plain Python")
        self._run_id = environ[c.RUN_ID]
        self._sweep = sweep
        read, self._lifeline = os.pipe()
        try:
            self._agent = subprocess.Popen(
                [sys.executable, "-m", "paceline.agent.main", "--", *command],
                env={**environ, c.LIFELINE: str(read)},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(read, lock),
                # Ctrl-C in a terminal goes to the whole group, and the agent shall hear of it from here alone.
                start_new_session=True,
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(read)
        assert self._agent.stdout is not None
        assert self._agent.stderr is not None
        pipes = ((1, self._agent.stdout.fileno()), (2, self._agent.stderr.fileno()))
        self._pumps = [
            threading.Thread(target=_pump, args=(fd, stream, show), name="paceline-output", daemon=True)
            for stream, fd in pipes
        ]
        self._ended = threading.Event()
        for pump in self._pumps:
            pump.start()
        threading.Thread(target=self._await_end, name="paceline-agent", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether the agent has ended, and all that it wrote was shown."""
        return self._ended.is_set()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the agent's end, and for all that it wrote; its exit code, negative for a signal.

        Returns:
            None when `timeout_s` is over before.
        """
        # An event, not `Popen.wait`: that one would take 0.25 s of a Ctrl-C for the agent to hear of it too.
        return self._agent.returncode if self._ended.wait(timeout_s) else None

    def terminate(self) -> None:
        """Ask the agent to end: what was reported is stored first."""
        if not self.ended:
            self._agent.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Leave nothing behind: whatever still runs, or has outlived a killed agent, is killed."""
        clean = self.ended and (self._agent.returncode or 0) >= 0
        if not clean:
            self._agent.kill()
        if not clean or self._sweep:
            kill_all(self._run_id)
        self._ended.wait(_GONE_S)
        os.close(self._lifeline)

    def _await_end(self) -> None:
        self._agent.wait()
        for pump in self._pumps:
            pump.join(_GONE_S)
        for pipe in (self._agent.stdout, self._agent.stderr):
            if pipe is not None:
                pipe.close()
        self._ended.set()


def kill_all(run_id: str) -> None:
    """SIGKILL every process of a run, wherever it hangs in the tree of processes; Linux alone tells which they are."""
    mark = f"{c.RUN_ID}={run_id}".encode()
    end = time.monotonic() + _GONE_S
    # Again until none is left: one may have started another meanwhile.
    while (found := _marked(mark)) and time.monotonic() < end:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):  # noqa: PERF203
                continue
        time.sleep(0.01)


def _marked(mark: bytes) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:  # noqa: PERF203 - another user's, or just ended
            continue
    own = os.getpid()
    return [pid for pid in found if pid != own]


def _pump(fd: int, stream: int, show: Show) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while True:
        try:
            data = os.read(fd, _READ_BYTES)
        except OSError:
            data = b""
        text = decoder.decode(data, final=not data)
        if text:
            show(stream, text)
        if not data:
            return
