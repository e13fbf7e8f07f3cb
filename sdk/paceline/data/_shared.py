"""One process of this machine finds something out, the others read what it found."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_KEPT_S = 24 * 3600.0


def once(name: str, find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `find` gives, called by one of all processes of this user on this machine that ask for this name.

    Who asks meanwhile waits; where it fails or dies, the next one tries itself. What was found is kept for a day. Where
    the temporary directory cannot be used, each finds it itself.

    Args:
        name: What it is about; equal names share.
        find: Gives what JSON can write.
    """
    try:
        base = _base()
        _remove_old(base)
        place = base / hashlib.sha256(name.encode()).hexdigest()[:32]
        lock = os.open(place.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return find()
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _read(place)
        if found is None:
            found = find()
            _write(place, found)
        return found
    finally:
        os.close(lock)


def _read(place: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(place.read_text())
    except FileNotFoundError:
        return None
    return found


def _write(place: Path, found: dict[str, Any]) -> None:
    making = place.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):  # a full disk: the others look themselves
        making.write_text(json.dumps(found))
        making.rename(place)


def _remove_old(base: Path) -> None:
    for path in base.iterdir():
        try:
            if time.time() - path.stat().st_mtime > _KEPT_S:
                path.unlink()
        except FileNotFoundError:  # noqa: PERF203 - another process was faster
            continue


def _base() -> Path:
    """A directory of this user alone: in a world-writable one another user could plant files."""
    base = Path(tempfile.gettempdir(), f"paceline-data-{os.getuid()}")
    base.mkdir(mode=0o700, exist_ok=True)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{base} belongs to somebody else: remove it, or set TMPDIR to a directory of your own")
    return base
