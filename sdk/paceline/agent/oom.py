"""Has the kernel ended a process of this container for want of memory?

It kills one process, and the container's own reason says `OOMKilled` only where that was the agent. What tells it of a
training process is the counter of the container's control group (kernel documentation: `memory.events` of version 2,
`memory.oom_control` of version 1, both with a line `oom_kill N`).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


class OomWatch:
    """Counts from the moment it is made."""

    def __init__(self, root: Path = _ROOT, own: Path = _OWN) -> None:
        self._file = next((file for file in _candidates(root, own) if _kills(file) is not None), None)
        self._known = self._count()

    def struck(self) -> bool:
        """Whether a process was killed so since this was last asked."""
        before, self._known = self._known, self._count()
        return self._known > before

    def _count(self) -> int:
        return (_kills(self._file) if self._file else None) or 0


def _candidates(root: Path, own: Path) -> Iterable[Path]:
    """The files of the process's own group; in a container that is what is mounted as the root."""
    lines = []
    with suppress(OSError):
        lines = own.read_text().splitlines()
    groups = {
        names: path.lstrip("/") for _, names, path in (line.split(":", 2) for line in lines if line.count(":") > 1)
    }
    for path in (groups.get("", ""), ""):
        yield root / path / "memory.events"
    for path in (groups.get("memory", ""), ""):
        yield root / "memory" / path / "memory.oom_control"


def _kills(file: Path) -> int | None:
    try:
        words = dict(line.split(" ", 1) for line in file.read_text().splitlines() if " " in line)
        return int(words["oom_kill"])
    except (OSError, KeyError, ValueError):
        return None
