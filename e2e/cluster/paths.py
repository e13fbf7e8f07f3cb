"""Where the test bed keeps things: caches for the user's machine, state for each bed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).resolve().parent
REPOSITORY = SOURCE.parent.parent


def cache() -> Path:
    """The cache of all beds, outside the clone: `$PACELINE_CACHE`, else `~/.cache/paceline`."""
    root = os.environ.get("PACELINE_CACHE")
    path = Path(root) if root else Path.home() / ".cache" / "paceline"
    path.mkdir(parents=True, exist_ok=True)
    return path


def bed_dir(name: str) -> Path:
    """State of one bed: what was chosen, keys, logs, data of etcd and of the nodes."""
    return cache() / "beds" / name


def run_dir(name: str) -> Path:
    """Sockets of one bed. A Unix socket's path may have 107 bytes, so this one is short."""
    return Path("/run/paceline") / name


@contextmanager
def lock(name: str, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock between processes, alone or with others that share it. The kernel frees it when its holder dies."""
    path = cache() / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
