"""Files from one directory to another: a volume that pods share, or this machine's disk."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from paceline.storage import checksum
from paceline.storage._base import PARTIAL_PREFIX
from paceline.storage._errors import DISK_WAYS_OUT, StorageError, StorageNotFoundError
from paceline.storage._transfer_ranges import write_all
from paceline.storage._transfer_workers import Rules

_CHUNK = 4 * 1024 * 1024
# Between two file systems, or on one that cannot copy by itself.
_NO_KERNEL_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM, errno.EBADF}


class LocalCopy:
    """A task: copy beside the target, check, rename.

    Args:
        durable: The bytes are on the disk before the name is (a store); else the page cache is enough.
    """

    def __init__(
        self, source: Path, target: Path, size: int, expected: Mapping[str, Any], rules: Rules, *, durable: bool
    ) -> None:
        self._source = source
        self._target = target
        self._partial = target.with_name(f"{PARTIAL_PREFIX}{target.name[:100]}-{uuid.uuid4().hex}")
        self._size = size
        self._expected = expected
        self._rules = rules
        self._durable = durable
        kinds = (checksum.known(name) for name in expected if name.startswith("crc"))
        self._kind = next((kind for kind in kinds if kind is not None), None) or checksum.best()
        self.about: dict[str, Any] = {}

    def jobs(self) -> Iterable[Callable[[], None]]:
        """One: a disk gains nothing from several writers of one file."""
        return [lambda: self._rules.again(self._copy)]

    def abort(self) -> None:
        """Remove what has been written."""
        self._partial.unlink(missing_ok=True)

    def _copy(self) -> None:
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            try:
                value, size = copy(self._source, self._partial, self._kind, durable=self._durable)
                self._check(value, size)
                self._partial.replace(self._target)
                if self._durable:
                    sync_directory(self._target.parent)
            finally:
                self._partial.unlink(missing_ok=True)
        except OSError as e:
            raise _told(self._source, self._target, e) from e
        self.about = {"size": size, self._kind.name: checksum.text(value)}
        self._rules.progress.moved(size)
        self._rules.progress.finished()

    def _check(self, value: int, size: int) -> None:
        if size != self._size:
            raise StorageError(f"{self._source} has {size} bytes instead of {self._size}")
        wanted = self._expected.get(self._kind.name)
        if wanted is not None and str(wanted) != checksum.text(value):
            raise StorageError(f"{self._source} came with {self._kind.name} {checksum.text(value)} instead of {wanted}")


def copy(source: Path, target: Path, kind: checksum.Kind, *, durable: bool) -> tuple[int, int]:
    """Copy a file's content and mode of execution; returns its sum and size.

    The kernel copies where it can (on some file systems without moving a byte); our own read is for the sum.

    Raises:
        OSError: Reading or writing failed.
    """
    value, offset, by_kernel = 0, 0, hasattr(os, "copy_file_range")
    with source.open("rb", buffering=0) as reader:
        mode = stat.S_IMODE(os.fstat(reader.fileno()).st_mode) & 0o777
        out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            if mode & 0o100:
                os.fchmod(out, (os.fstat(out).st_mode | mode & 0o111) & 0o777)
            while data := os.pread(reader.fileno(), _CHUNK, offset):
                value = kind.extend(data, value)
                if by_kernel:
                    by_kernel = _copy_range(reader.fileno(), out, offset, len(data))
                if not by_kernel:
                    write_all(out, data, offset)
                offset += len(data)
            if durable:
                os.fsync(out)
        finally:
            os.close(out)
    return value, offset


def _copy_range(source: int, target: int, offset: int, length: int) -> bool:
    """Whether the kernel has copied all of it."""
    done = 0
    try:
        while done < length:
            copied = os.copy_file_range(source, target, length - done, offset + done, offset + done)
            if not copied:
                return False
            done += copied
    except OSError as e:
        if e.errno not in _NO_KERNEL_COPY:
            raise
        return False
    return True


def sync_directory(directory: Path) -> None:
    """Make new names in it last."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError:  # a few network file systems cannot sync a directory; the file itself is synced
        pass
    finally:
        os.close(fd)


def _told(source: Path, target: Path, error: OSError) -> StorageError:
    said = error.strerror or str(error)
    if isinstance(error, FileNotFoundError) and not source.exists():
        return StorageNotFoundError(f"cannot read {source}: no such file or directory")
    way_out = DISK_WAYS_OUT.get(error.errno or 0)
    return StorageError(
        f"cannot copy {source} to {target}: {said}" + (f"; {way_out}" if way_out else ""), retryable=way_out is None
    )
