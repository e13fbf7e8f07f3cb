"""What holds a silent process up, as the kernel tells it: stopped by a signal, by a debugger, or waiting for a device.

When one rank is stopped, all ranks wait for it in the same collective operation, with the same number of reports:
only the state of the processes tells them apart. It is read where a process has been silent for long, so that a run in
which all is well pays nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from paceline.agent.beat import RankState

Held = Literal["", "T", "t", "D"]  # the letters of /proc/PID/stat

STOPPED: tuple[Held, ...] = ("T", "t")
WORDS = {
    "T": "is stopped (SIGSTOP or the like)",
    "t": "is held by a debugger",
    "D": "waits for a disk or a device (state D)",
}

_SILENT_SHARE = 0.5  # of the shortest silence that can be called a stall
_LOOK_SHARE = 0.1  # of it, between two looks,
_LOOK_S = 2.0  # and no more than this
_DEVICE_LOOKS = 3  # in a row: waiting for a disk for a moment is what every process does


@dataclass(slots=True)
class _Rank:
    pid: int
    reports: int
    since: float  # when the count became that
    looked: float = 0.0
    waits: int = 0  # looks in a row that found it waiting for a device
    held: Held = ""


class Holdups:
    """Of the processes of one pod. Times are seconds of the monotonic clock."""

    def __init__(
        self,
        stall_s: float,
        *,
        look: Callable[[int], Held] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            stall_s: Silence that may be called a stall; 0: none ever is, and nothing is read.
            look: Reads the state of a process and of what it has started.
        """
        self._stall_s = stall_s
        self._look = look or state_of
        self._clock = clock
        self._ranks: dict[int, _Rank] = {}

    def started(self, rank: int, pid: int) -> None:
        """This process runs the rank."""
        self._ranks[rank] = _Rank(pid, 0, self._clock())

    def told(self, ranks: Iterable[RankState]) -> tuple[RankState, ...]:
        """The same ranks, those that are silent for long with what holds them up."""
        return tuple(replace(state, held=held) if (held := self._of(state)) else state for state in ranks)

    def _of(self, state: RankState) -> Held:
        known = self._ranks.get(state.rank)
        if known is None or state.ended or not self._stall_s:
            return ""
        now = self._clock()
        if state.reports > known.reports:
            self._ranks[state.rank] = _Rank(known.pid, state.reports, now)
            return ""
        often_s = min(_LOOK_S, self._stall_s * _LOOK_SHARE)
        if now - known.since > self._stall_s * _SILENT_SHARE and now - known.looked >= often_s:
            known.looked = now
            found = self._look(known.pid)
            known.waits = known.waits + 1 if found == "D" else 0
            known.held = "" if found == "D" and known.waits < _DEVICE_LOOKS else found
        return known.held


def state_of(pid: int) -> Held:
    """What holds a process up, or one of those that it has started: a shell's script, a data loader.

    What a signal or a debugger has stopped comes first; then the process itself counts for waiting, not its helpers.
    Empty: nothing does, or it has ended.
    """
    seen = {one: _state(one) for one in (pid, *_descendants(pid))}
    for letter in STOPPED:
        if letter in seen.values():
            return letter
    return "D" if seen[pid] == "D" else ""


def _state(pid: int) -> str:
    try:
        # The name before it may hold anything, also parentheses.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _descendants(pid: int) -> list[int]:
    """As far as the kernel tells them (CONFIG_PROC_CHILDREN, in all common ones); none where it does not."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:
        pass
    return [*found, *(below for child in found for below in _descendants(child))]
