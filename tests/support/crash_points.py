"""Named points of the checkpoint protocol, and what a crash case does when a process reaches one.

Agents and training processes of a case call `Points.hit` wherever something becomes visible to others: around each
operation of the store, at each system call inside it, at each message. A recording run writes the names down; a crash
run lets one of them fire. Standard library alone, since the training processes import it too.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

# "": two pods of one process each, numbered checkpoints. "pair": one pod with both processes. "named": as "", each
# checkpoint in a directory of its own name, and report() waits for its commit.
Form = Literal["", "pair", "named"]
CASE = "CRASH_CASE"  # environment variable: the case's directory
_DEATH_S = 5.0  # a SIGKILL takes microseconds; this bounds a hang
_TOGETHER_S = 30.0  # they are forked one after the other
_guard = threading.local()


@dataclass(frozen=True, slots=True)
class Shot:
    """At `point` of process `who`, in `attempt`: `action` on `victim`."""

    who: str  # lead, agent1, rank0, rank1
    point: str
    victim: str  # the same names, and server
    action: str = "kill"  # kill, stop (SIGSTOP of `who` itself), drop (the message of this point is lost)
    attempt: int = 0

    @property
    def id(self) -> str:
        """One word."""
        return f"{self.attempt}.{self.victim}.{self.action}@{self.who}:{self.point}"

    @classmethod
    def from_id(cls, text: str) -> Shot:
        """From `id`."""
        head, _, tail = text.partition("@")
        attempt, victim, action = head.split(".")
        who, _, point = tail.partition(":")
        return cls(who, point, victim, action, int(attempt))


@dataclass(frozen=True, slots=True)
class Plan:
    """What the processes of a case do besides training; lies in the case's directory."""

    shots: tuple[Shot, ...] = ()
    record: int | None = None  # attempt whose points are written down
    store: str = "local"  # or s3
    run: str = ""  # the run directory as it lies on this machine, also for an S3 server
    broken: str = ""  # name of a broken variant of the protocol, see crash_broken
    form: Form = ""

    def write(self, case: Path) -> None:
        """For `read`."""
        (case / "plan.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, case: Path) -> Plan:
        """From the case's directory."""
        told = json.loads((case / "plan.json").read_text())
        return cls(**{**told, "shots": tuple(Shot(**shot) for shot in told["shots"])})


class Points:
    """The points of one process."""

    def __init__(self, case: Path, who: str, attempt: int) -> None:
        self.case = case
        self.who = who
        self.attempt = attempt
        self.plan = Plan.read(case)
        self._shots = {s.point: s for s in self.plan.shots if (s.who, s.attempt) == (who, attempt)}
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        recorded = case / f"points-{who}"
        self._record = _append(recorded) if self.plan.record == attempt else None
        (case / f"pid-{attempt}-{who}").write_text(str(os.getpid()))

    def await_agents(self, count: int) -> None:
        """Until all agents of the attempt are there: whom a shot at its first steps can hit is no matter of luck."""
        end = time.monotonic() + _TOGETHER_S
        while sum("-rank" not in path.name for path in self.case.glob(f"pid-{self.attempt}-*")) < count:
            assert time.monotonic() < end, f"not all of {count} agents have come"
            time.sleep(0.002)

    def hit(self, name: str) -> str:
        """The process is at this point. Returns the action of a shot that fired and left us alive, else nothing."""
        if getattr(_guard, "busy", False):
            return ""
        _guard.busy = True
        try:
            with self._lock:
                self._counts[name] = count = self._counts.get(name, 0) + 1
            point = f"{name}#{count}" if count > 1 else name
            if self._record is not None:
                note(self._record, point=point, alive=alive(self.case, self.attempt))
            shot = self._shots.get(point)
            return self._fire(shot) if shot else ""
        finally:
            _guard.busy = False

    def next_fires(self, name: str) -> bool:
        """Whether the next hit of `name` fires."""
        count = self._counts.get(name, 0) + 1
        return (f"{name}#{count}" if count > 1 else name) in self._shots

    def _fire(self, shot: Shot) -> str:
        fired = {"shot": shot.id, "committed": committed(Path(self.plan.run)), "time": time.time()}
        partial = self.case / f"fired-{shot.attempt}.partial"
        partial.write_text(json.dumps(fired))
        partial.replace(self.case / f"fired-{shot.attempt}")
        if shot.action == "stop":
            # To this very thread: it stops before its next instruction.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        elif shot.action == "kill":
            kill(self.case, shot.attempt, shot.victim)
        return shot.action


def kill(case: Path, attempt: int, victim: str) -> None:
    """SIGKILL; of an agent, its training processes too, as the end of a container does. Returns when it is dead."""
    name = "pid-server" if victim == "server" else f"pid-{attempt}-{victim}"
    pids = [pid] if (pid := read_pid(case / name)) else []
    pods = {"lead": ("rank0", "rank1") if Plan.read(case).form == "pair" else ("rank0",), "agent1": ("rank1",)}
    # The agent first: it must not learn of the death of its processes.
    pids += [pid for rank in pods.get(victim, ()) if (pid := read_pid(case / f"pid-{attempt}-{rank}"))]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + _DEATH_S
    while any(is_alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.0005)


def alive(case: Path, attempt: int) -> list[str]:
    """Processes of an attempt that live."""
    found = []
    for path in case.glob(f"pid-{attempt}-*"):
        pid = read_pid(path)
        if pid and is_alive(pid):
            found.append(path.name.split("-", 2)[2])
    return sorted(found)


def committed(run: Path) -> list[str]:
    """Names of the checkpoint directories that have their commit now."""
    return sorted(path.parent.name for path in run.glob("*/.paceline.json"))


def syncing(case: Path, attempt: int) -> Path:
    """A file that is there while the lead of `attempt` is about to store `result.json`, past its look at the fence."""
    return case / f"syncing-{attempt}"


def read_pid(path: Path) -> int | None:
    """The number in a file, or None where there is none yet."""
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def journal(case: Path, attempt: int, who: str) -> int:
    """The file of `note`, opened."""
    return _append(case / f"journal-{attempt}-{who}")


def note(fd: int, **told: Any) -> None:
    """One line; it survives the process."""
    os.write(fd, json.dumps(told).encode() + b"\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal or of recorded points; none when the process never came so far."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _append(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
