"""One local copy of a remote directory for all processes of this machine; the kernel counts the users.

Below `<temporary directory>/paceline-copies-<uid>/`, each copy has `<key>.state`, locked by who makes or removes it;
`<key>.users`, locked (shared) by each process that reads; and `<key>/`, the files. A process that dies loses its locks
at once, so neither an unfinished copy nor one without users outlives the next look: no list of processes, no timeouts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

_STATE, _USERS, _MAKING = ".state", ".users", ".making"


@contextlib.contextmanager
def shared_copy(name: str, make: Callable[[Path], None]) -> Iterator[Path]:
    """A directory that `make` fills once for all processes that ask at the same time; the last user removes it.

    Args:
        name: What it is a copy of. Equal names share.
        make: Fills a new directory; who asks meanwhile waits, and tries itself where this one fails.
    Raises:
        OSError: The temporary directory is not writable, or full.
    """
    base = _base()
    _remove_unused(base)
    place = base / _key(name)
    with _locked(_beside(place, _STATE)):
        if not place.is_dir():
            _make(place, make)
        users = _open(_beside(place, _USERS))
        fcntl.flock(users, fcntl.LOCK_SH)
    try:
        yield place
    finally:
        with _locked(_beside(place, _STATE)):
            # Unlocked by name: a forked child holds the same lock, and may live on without reading.
            fcntl.flock(users, fcntl.LOCK_UN)
            os.close(users)
            _remove_if_unused(place)


@contextlib.contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Of all processes of this user on this machine, one is inside for a name; a dead one does not hold it.

    Raises:
        OSError: The temporary directory is not writable.
    """
    path = _base() / f"{_key(name)}.lock"
    with _locked(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _make(place: Path, make: Callable[[Path], None]) -> None:
    making = _beside(place, _MAKING)
    shutil.rmtree(making, ignore_errors=True)  # of a process that died here
    making.mkdir()
    try:
        make(making)
        making.rename(place)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _remove_unused(base: Path) -> None:
    """What dead processes left."""
    for state in base.glob(f"*{_STATE}"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), _locked(state, wait=False):
            _remove_if_unused(state.with_suffix(""))


def _remove_if_unused(place: Path) -> None:
    """Call it with the state lock held; the lock's file goes last."""
    with _opened(_beside(place, _USERS)) as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for directory in (place, _beside(place, _MAKING)):
            shutil.rmtree(directory, ignore_errors=True)
        for kind in (_USERS, _STATE):
            _beside(place, kind).unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file that others may remove meanwhile: a lock counts only on the file that has the name."""
    while True:
        with _opened(path) as fd:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_named(fd, path):
                yield
                return


def _is_named(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = _open(path)
    try:
        yield fd
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _beside(place: Path, kind: str) -> Path:
    return place.with_name(place.name + kind)


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _base() -> Path:
    """A directory of this user alone: in a world-writable one another user could plant files."""
    base = Path(tempfile.gettempdir(), f"paceline-copies-{os.getuid()}")
    base.mkdir(mode=0o700, exist_ok=True)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{base} belongs to somebody else: remove it, or set TMPDIR to a directory of your own")
    return base
