"""What a file system is asked for beyond Python's own calls: a copy with its checksum, and names that last."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from paceline.storage import checksum

_CHUNK = 4 * 1024 * 1024
# Between two file systems, or on one that cannot copy by itself.
_NO_KERNEL_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM, errno.EBADF}


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


def write_all(fd: int, data: bytes, offset: int) -> None:
    """All of `data` at `offset`.

    Raises:
        OSError: The disk is full, a quota is used up, ...
    """
    written = os.pwrite(fd, data, offset)
    while written < len(data):
        written += os.pwrite(fd, data[written:], offset + written)
