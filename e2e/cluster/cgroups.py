"""Control groups of the bed's nodes: `/paceline/<bed>/<node>` in every hierarchy (v1), or in the one (v2)."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PARENT = "paceline"


def node_group(bed: str, node: str) -> str:
    """The kubelet's cgroupRoot."""
    return f"/{PARENT}/{bed}/{node}"


def create(group: str) -> None:
    """Make the group in each hierarchy."""
    for root in hierarchies():
        path = root
        for part in group.strip("/").split("/"):
            _enable_controllers(path)
            path = path / part
            path.mkdir(exist_ok=True)
            # A new v1 cpuset is empty, and nothing can run in it.
            for name in ("cpuset.cpus", "cpuset.mems"):
                if root.name == "cpuset" and not (path / name).read_text().strip():
                    (path / name).write_text((path.parent / name).read_text())


def hierarchies(root: Path = ROOT) -> list[Path]:
    """The mount point of each hierarchy that manages resources."""
    if (root / "cgroup.controllers").exists():
        return [root]
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and path.name != "unified")


def pids(group: str) -> list[int]:
    """Processes in the group and below it."""
    found: set[int] = set()
    for path in _existing(group):
        for file in path.rglob("cgroup.procs"):
            with suppress(OSError):  # gone meanwhile
                found.update(int(line) for line in file.read_text().split())
    return sorted(found - {0})


def remove(group: str, timeout_s: float = 10.0) -> None:
    """Remove the group, whose processes are dead; the kernel may need a moment to notice."""
    deadline = time.monotonic() + timeout_s
    while remaining := _existing(group):
        for path in remaining:
            folders = sorted((p for p in path.rglob("*") if p.is_dir()), key=lambda p: len(p.parts), reverse=True)
            for folder in [*folders, path]:
                with suppress(OSError):
                    folder.rmdir()
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)
    for root in hierarchies():
        with suppress(OSError):  # other beds are below it
            (root / PARENT).rmdir()


def leftovers(group: str) -> list[str]:
    """Directories of the group that still exist."""
    return [f"cgroup {path}" for path in _existing(group)]


def _existing(group: str) -> list[Path]:
    return [path for root in hierarchies() if (path := root / group.strip("/")).exists()]


def _enable_controllers(path: Path) -> None:
    control, available = path / "cgroup.subtree_control", path / "cgroup.controllers"
    if not control.exists():
        return
    for controller in available.read_text().split():
        with suppress(OSError):  # one the machine keeps to itself; the kubelet says so if it needs it
            control.write_text(f"+{controller}")
