"""A directory on a real disk that is full, read-only, or shared by many writers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.storage import Storage, StorageError, resolve
from tests.support import timeouts

MIB = 1024 * 1024


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 2 MiB."""
    where = tmp_path / "volume"
    where.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(where)], capture_output=True)
    if done.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_full_disk_is_told_and_what_was_there_stays(volume: Path, tmp_path: Path) -> None:
    storage, path = resolve(str(volume / "runs"))
    storage.write(f"{path}/kept", b"1")
    (tmp_path / "big").write_bytes(bytes(4 * MIB))
    with pytest.raises(StorageError, match="the disk is full: free space") as caught:
        storage.put_file(str(tmp_path / "big"), f"{path}/big")
    assert not caught.value.retryable
    with pytest.raises(StorageError, match="the disk is full"):
        storage.write(f"{path}/kept", bytes(4 * MIB))
    assert [(entry.name, entry.size) for entry in storage.files(path)] == [("kept", 1)]
    storage.write(f"{path}/small", b"2")  # nothing of the failed writes takes room


def test_a_full_disk_of_this_machine_is_told_at_a_download(volume: Path, tmp_path: Path) -> None:
    storage, path = resolve(str(tmp_path / "runs"))
    storage.write(f"{path}/big", bytes(4 * MIB))
    for uri_storage in (storage, _generic(tmp_path)):
        with pytest.raises(StorageError, match="the disk is full") as caught:
            uri_storage.get_file(f"{path}/big", str(volume / "big"))
        assert not caught.value.retryable
    assert list(volume.iterdir()) == []


def test_a_read_only_volume_is_told_before_training(volume: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(volume)], check=True)
    storage, path = resolve(str(volume / "runs"))
    with pytest.raises(StorageError, match="mounted read-only: mount it read-write") as caught:
        storage.check(path)
    assert not caught.value.retryable


def test_of_many_processes_that_create_a_file_one_wins(tmp_path: Path) -> None:
    code = """
        import sys, pathlib
        from paceline.storage import resolve
        storage, path = resolve(sys.argv[1])
        print("ready", flush=True)
        sys.stdin.readline()
        print(sum(storage.create_if_absent(f"{path}/{i}", sys.argv[2].encode()) for i in range(200)))
    """
    text = "\n".join(line.strip() for line in code.splitlines())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", text, str(tmp_path / "runs"), f"writer {i}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for i in range(4)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    won = [int(writer.communicate("go\n", timeout=timeouts.AGENT_RUN_S)[0]) for writer in writers]
    assert sum(won) == 200
    storage, path = resolve(str(tmp_path / "runs"))
    assert len(list(storage.files(path))) == 200


def _generic(tmp_path: Path) -> Storage:
    # Another client with another way to write its download.
    from pyarrow import fs

    return resolve(str(tmp_path / "runs"), fs.SubTreeFileSystem("/", fs.LocalFileSystem()))[0]
