"""Starts the bed's processes so that they outlive the caller, and finds them again later.

Each child carries the bed's name in its environment, so that what a killed `up` left behind is
found without any record, and nothing else is ever taken for ours.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from e2e.cluster.errors import BedError

BED_VARIABLE = "PACELINE_STARTED_BY_BED"
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Record:
    """One started process as it is written to the bed's state."""

    name: str
    pid: int
    started: float
    command: list[str]
    environment: dict[str, str]


class BedProcess:
    """One long-running program of a bed, by name: start, kill, restart."""

    def __init__(
        self,
        bed: str,
        name: str,
        state: Path,
        *,
        netns: str = "",
        ready: Callable[[], bool] | None = None,
        ready_timeout_s: float = 60.0,
    ) -> None:
        self.bed = bed
        self.name = name
        self.netns = netns
        self.ready = ready
        self.ready_timeout_s = ready_timeout_s
        self.spawned_at = 0.0
        self.log = state / "logs" / f"{name}.log"
        self._file = state / "processes" / f"{name}.json"

    @property
    def record(self) -> Record | None:
        """What was started last, dead or alive."""
        if not self._file.exists():
            return None
        return Record(**json.loads(self._file.read_text()))

    @property
    def pid(self) -> int | None:
        """The live process's id. A reused id of another process does not count."""
        record = self.record
        if record is None:
            return None
        reap(record.pid)
        return record.pid if _start_time(record.pid) == record.started else None

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start the program in the bed's network, detached, its output appended to `log`."""
        enter = ["nsenter", f"--net=/run/netns/{self.netns}", "--"] if self.netns else []
        self._spawn([*enter, *command], dict(environment or {}))

    def _spawn(self, command: list[str], environment: dict[str, str]) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self.spawned_at = time.time()
        pid = spawn(command, os.environ | environment | {BED_VARIABLE: self.bed}, self.log)
        started = _start_time(pid)
        record = Record(self.name, pid, started if started is not None else 0.0, command, environment)
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(record)))
        temporary.replace(self._file)

    def kill(self) -> None:
        """Kill it as a crash would (SIGKILL) and return when it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end (SIGTERM), then kill it."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing answers."""
        if (pid := self.pid) is not None:
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        if (pid := self.pid) is not None:
            os.kill(pid, signal.SIGCONT)

    def restart(self) -> None:
        """Kill it if it lives, start it with the same command line, wait until it is ready."""
        record = self.record
        if record is None:
            raise BedError(f"{self.name} was never started in the bed {self.bed}")
        self.kill()
        self._spawn(record.command, record.environment)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return when it answers; say where the log is when it does not."""
        if self.ready is None:
            return
        deadline = time.monotonic() + self.ready_timeout_s
        while not self.ready():
            if self.pid is None:
                raise BedError(f"{self.name} ended early: {tail(self.log)}\n(all of it: {self.log})")
            if time.monotonic() > deadline:
                raise BedError(f"{self.name} not ready after {self.ready_timeout_s:.0f} s: see {self.log}")
            time.sleep(0.05)

    def _end(self, first: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            end([pid], first)


def spawn(command: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
    """Start a detached process; returns its id. (No Popen: it would warn about a child left running.)

    The kernel lets the parent go on in the middle of exec, before the new environment shows in
    /proc. This waits for that moment, so that `of_bed` never misses a process that was started.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawnp(
        command[0],
        list(command),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
    )
    while environment and _start_time(pid) is not None and not _environ(pid):
        time.sleep(0.0005)
    return pid


def end(pids: Sequence[int], first: signal.Signals = signal.SIGKILL, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Signal the processes, kill those that stay, return when all are gone."""
    alive = {pid: started for pid in pids if (started := _start_time(pid)) is not None}
    for sent in (first, signal.SIGKILL):
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, sent)
        deadline = time.monotonic() + timeout_s
        while alive and time.monotonic() < deadline:
            for pid, started in list(alive.items()):
                reap(pid)
                if _start_time(pid) != started:
                    del alive[pid]
            time.sleep(0.01)
        if not alive:
            return
    raise BedError(f"processes {sorted(alive)} cannot be killed")


def of_bed(bed: str) -> list[int]:
    """Live processes that carry this bed's name, shims of its containers among them."""
    marker = f"{BED_VARIABLE}={bed}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        if marker in _environ(int(entry.name)).split(b"\0") and _start_time(int(entry.name)) is not None:
            found.append(int(entry.name))
    return found


def reap(pid: int) -> None:
    """Collect the exit status when the process was our own child."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def tail(log: Path, lines: int = 8) -> str:
    """The last lines of a log, for messages."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


def _environ(pid: int) -> bytes:
    """The environment that the process was started with. Empty: gone, or still within exec."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _start_time(pid: int) -> float | None:
    """Start time in clock ticks since boot: with the id it names one process for ever. None: dead, or its zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # A killed process is a zombie as soon as its first thread is gone: the last one to go closes its sockets.
    threads = int(fields[17])
    return None if fields[0] in "ZX" and threads <= 1 else float(fields[19])


def memory_bytes(pids: Sequence[int]) -> int:
    """Resident memory of the processes together."""
    total = 0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            total += psutil.Process(pid).memory_info().rss
    return total
