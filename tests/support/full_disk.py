"""A small file system of its own, so that a test can fill a disk without filling the machine's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 2**20


class CannotMountError(Exception):
    """This machine or user cannot mount; the message says why."""


class SmallDisk:
    """A mounted tmpfs of a fixed size. What does not fit fails with ENOSPC, as on any full disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / ".ballast"

    @property
    def free_bytes(self) -> int:
        """What can still be written."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave_bytes: int = 0) -> None:
        """Take all space but `leave_bytes` (in whole pages of 4 KiB)."""
        with self._ballast.open("ab") as file:
            taken = self.free_bytes - leave_bytes
            if taken > 0:
                os.posix_fallocate(file.fileno(), file.tell(), taken)

    def empty(self) -> None:
        """Give the space that `fill` took back."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def mounted(folder: Path, size_mib: int) -> Iterator[SmallDisk]:
    """Mount a disk of `size_mib` MiB at `folder` for the block. Processes that still write there do not hinder its end.

    Raises:
        CannotMountError: Mounting is impossible here.
    """
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("mount"):
        raise CannotMountError("a small disk is a tmpfs: mounting it needs Linux, root and the program `mount`")
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0777", "paceline-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMountError(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)
