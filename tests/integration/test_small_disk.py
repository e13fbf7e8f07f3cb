"""The small disk of tests is really full when it is full, and leaves nothing behind."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.full_disk import MIB, CannotMountError, SmallDisk, mounted


def test_what_does_not_fit_is_refused_and_fits_when_there_is_space_again(
    small_disk: Callable[[int], SmallDisk],
) -> None:
    disk = small_disk(8)
    with pytest.raises(OSError) as refused:
        (disk.path / "big").write_bytes(b"x" * (9 * MIB))
    assert refused.value.errno == errno.ENOSPC
    (disk.path / "big").unlink()
    disk.fill(leave_bytes=MIB)
    assert MIB / 2 < disk.free_bytes <= MIB
    with pytest.raises(OSError, match="No space left"):
        (disk.path / "file").write_bytes(b"x" * (2 * MIB))
    disk.empty()
    (disk.path / "file").write_bytes(b"x" * (2 * MIB))


def test_two_disks_are_apart(small_disk: Callable[[int], SmallDisk]) -> None:
    full, other = small_disk(1), small_disk(1)
    full.fill()
    assert full.free_bytes == 0
    assert other.free_bytes > 0


def test_the_mount_ends_with_the_block_also_while_a_file_is_open(
    tmp_path: Path, small_disk: Callable[[int], SmallDisk]
) -> None:
    small_disk(1)  # skips where nothing can be mounted
    with mounted(tmp_path / "busy", 1) as disk:
        file = (disk.path / "open").open("wb")
    with file:
        assert not any(str(disk.path) in line for line in Path("/proc/self/mountinfo").read_text().splitlines())
        assert list(disk.path.iterdir()) == []


def test_the_reason_is_told_where_mounting_is_impossible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(CannotMountError, match="needs Linux, root"), mounted(tmp_path, 1):
        pass
