"""Transfers to a directory, and to stores of which only whole files or ranges can be asked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.storage import Entry, Storage, StorageError, StorageNotFoundError, checksum, resolve, transfer
from paceline.storage._transfer_ranges import RANGE_BYTES

FILES = {"model.pt": b"m" * 100_000, "optimizer/state-0": b"0", "optimizer/state-1": b"", "a b/ü.txt": b"text"}


class Memory:
    """A store that keeps whole files and does what the test wants at the next call of a method."""

    scheme = "memory"
    exclusive = True

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.failures: dict[str, list[Exception | bytes]] = {}
        self.calls: list[str] = []

    def fail_next(self, method: str, *what: Exception | bytes) -> None:
        self.failures.setdefault(method, []).extend(what)

    def _next(self, method: str) -> bytes | None:
        self.calls.append(method)
        queue = self.failures.get(method)
        failure = queue.pop(0) if queue else None
        if isinstance(failure, Exception):
            raise failure
        return failure

    def uri(self, path: str) -> str:
        return f"memory://{path}"

    def put_file(self, local: str, path: str) -> None:
        instead = self._next("put_file")
        self.content[path] = Path(local).read_bytes() if instead is None else instead

    def get_file(self, path: str, local: str) -> None:
        instead = self._next("get_file")
        Path(local).write_bytes(self.content[path] if instead is None else instead)

    def size(self, path: str) -> int | None:
        self._next("size")
        return len(self.content[path]) if path in self.content else None

    def files(self, directory: str) -> Iterator[Entry]:
        self._next("files")
        for path, data in self.content.items():
            if path.startswith(f"{directory}/"):
                yield Entry(path.removeprefix(f"{directory}/"), len(data))


class Ranged(Memory):
    """The same with `get_range`."""

    def get_range(self, path: str, offset: int, length: int) -> bytes:
        instead = self._next("get_range")
        return self.content[path][offset : offset + length] if instead is None else instead


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def stores(tmp_path: Path) -> dict[str, tuple[Any, str]]:
    return {
        "directory": resolve(str(tmp_path / "store")),
        "whole files": (Memory(), "run"),
        "ranges": (Ranged(), "run"),
    }


@pytest.fixture(params=["directory", "whole files", "ranges"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Storage, str]:
    return stores(tmp_path)[request.param]


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_tree_goes_up_and_comes_back(store: tuple[Storage, str], source: Path, tmp_path: Path) -> None:
    storage, path = store
    up, down = transfer.Progress(), transfer.Progress()
    stored = transfer.upload_directory(storage, source, f"{path}/c", progress=up)
    assert stored == {name: {"size": len(data), **checksum.of_file(source / name)} for name, data in FILES.items()}
    transfer.download_directory(storage, f"{path}/c", tmp_path / "back", expected=stored, progress=down)
    assert tree(tmp_path / "back") == FILES
    total = sum(map(len, FILES.values()))
    for told in (up, down):
        assert (told.files_total, told.files_done, told.bytes_total, told.bytes_done) == (4, 4, total, total)
        assert told.retries == 0


def test_only_what_is_named_or_wanted_is_moved(store: tuple[Storage, str], source: Path, tmp_path: Path) -> None:
    storage, path = store
    stored = transfer.upload_directory(storage, source, f"{path}/c", names=["model.pt", "optimizer/state-0"])
    assert sorted(stored) == ["model.pt", "optimizer/state-0"]
    transfer.download_directory(storage, f"{path}/c", tmp_path / "back", wanted=lambda name: name != "model.pt")
    assert tree(tmp_path / "back") == {"optimizer/state-0": b"0"}


def test_links_bring_what_they_point_to_and_special_files_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "source"
    root.mkdir()
    (root / "file").write_bytes(b"1")
    (root / "link").symlink_to("file")
    (root / "dangling").symlink_to("nothing")
    (root / "loop").symlink_to(root, target_is_directory=True)
    os.mkfifo(root / "pipe")
    storage, path = resolve(str(tmp_path / "store"))
    assert sorted(transfer.upload_directory(storage, root, path)) == ["file", "link"]


def test_what_the_commit_has_and_the_store_lacks_is_an_error(
    store: tuple[Storage, str], source: Path, tmp_path: Path
) -> None:
    storage, path = store
    stored = transfer.upload_directory(storage, source, f"{path}/c")
    with pytest.raises(StorageNotFoundError, match="lacks 1 of its files, gone first"):
        transfer.download_directory(storage, f"{path}/c", tmp_path / "b", expected={**stored, "gone": {"size": 1}})
    with pytest.raises(StorageError, match=r"c/model.pt has 100000 bytes instead of the 7 of its commit"):
        transfer.download_directory(storage, f"{path}/c", tmp_path / "b", expected={"model.pt": {"size": 7}})
    with pytest.raises(StorageNotFoundError, match="nothing lies at"):
        transfer.download_directory(storage, f"{path}/none", tmp_path / "b")
    with pytest.raises(StorageNotFoundError, match="nothing lies at"):
        transfer.get_file(storage, f"{path}/none", tmp_path / "b" / "x")


def test_another_checksum_than_the_commits_is_an_error_and_leaves_no_file(
    store: tuple[Storage, str], source: Path, tmp_path: Path
) -> None:
    storage, path = store
    about = transfer.put_file(storage, source / "model.pt", f"{path}/model.pt")
    with pytest.raises(StorageError, match=r"model.pt came with"):
        transfer.get_file(storage, f"{path}/model.pt", tmp_path / "b" / "x", expected={**about, "crc32c": "00000000"})
    assert list((tmp_path / "b").iterdir()) == []


def test_a_file_that_arrives_damaged_is_fetched_again(source: Path, tmp_path: Path) -> None:
    storage = Memory()
    about = transfer.put_file(storage, source / "model.pt", "m")  # type: ignore[arg-type]
    storage.fail_next("get_file", b"short", b"x" * 100_000)
    progress = transfer.Progress()
    transfer.get_file(storage, "m", tmp_path / "x", expected=about, progress=progress)  # type: ignore[arg-type]
    assert (tmp_path / "x").read_bytes() == FILES["model.pt"]
    assert (storage.calls.count("get_file"), progress.retries) == (3, 2)


def test_a_store_that_swallows_an_upload_is_found_out(source: Path) -> None:
    # What pyarrow does with S3 when the end of an upload is refused: no error, and no object.
    storage = Memory()
    storage.fail_next("put_file", b"half")
    with pytest.raises(StorageError, match="has 4 bytes after 100000 were stored"):
        transfer.put_file(storage, source / "model.pt", "m")  # type: ignore[arg-type]


def test_throttling_is_waited_out_and_a_refusal_is_not(source: Path) -> None:
    storage = Memory()
    told: list[str] = []
    storage.fail_next("put_file", StorageError("SlowDown", retryable=True), StorageError("503", retryable=True))
    transfer.put_file(storage, source / "model.pt", "m", on_retry=lambda e, _: told.append(str(e)))  # type: ignore[arg-type]
    assert told == ["SlowDown", "503"]
    storage.fail_next("put_file", StorageError("AccessDenied"))
    with pytest.raises(StorageError, match="AccessDenied"):
        transfer.put_file(storage, source / "model.pt", "m")  # type: ignore[arg-type]
    assert storage.calls.count("put_file") == 4


def test_a_large_file_of_a_store_with_ranges_comes_in_ranges(tmp_path: Path) -> None:
    storage = Ranged()
    data = os.urandom(2 * RANGE_BYTES + 5)
    (tmp_path / "big").write_bytes(data)
    about = transfer.put_file(storage, tmp_path / "big", "big")  # type: ignore[arg-type]
    storage.fail_next("get_range", StorageError("reset", retryable=True), b"bad")
    progress = transfer.Progress()
    transfer.get_file(storage, "big", tmp_path / "back", expected=about, progress=progress)  # type: ignore[arg-type]
    assert (tmp_path / "back").read_bytes() == data
    assert storage.calls.count("get_file") == 0
    # One range failed, one came short and wrong and went on: the sum told, and all three came once more.
    assert (storage.calls.count("get_range"), progress.bytes_done) == (3 + 1 + 1 + 3, len(data))


def test_a_relative_name_lies_in_the_directory_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Ranged()
    storage.content["big"] = bytes(RANGE_BYTES + 1)
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []

    def get_range(path: str, offset: int, length: int) -> bytes:
        seen.extend(path.name for path in tmp_path.iterdir())
        return bytes(length)

    monkeypatch.setattr(storage, "get_range", get_range)
    transfer.get_file(storage, "big", "back")  # type: ignore[arg-type]
    assert seen[0].startswith(".back.")
    assert [path.name for path in tmp_path.iterdir()] == ["back"]


def test_a_copy_keeps_what_can_be_executed_and_overwrites_whole(tmp_path: Path) -> None:
    storage, path = resolve(str(tmp_path / "store"))
    script = tmp_path / "run.sh"
    script.write_text("echo new")
    script.chmod(0o755)
    storage.write(f"{path}/run.sh", b"old and longer")
    transfer.put_file(storage, script, f"{path}/run.sh")
    assert (tmp_path / "store" / "run.sh").read_text() == "echo new"
    assert os.access(tmp_path / "store" / "run.sh", os.X_OK)


@pytest.mark.parametrize("kernel", [True, False], ids=["kernel copies", "file system cannot"])
def test_a_copy_of_several_pieces_is_right_however_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: bool
) -> None:
    if not kernel:
        monkeypatch.setattr("paceline.storage._local_files._copy_range", lambda *_: False)
    data = os.urandom(9 * 1024 * 1024 + 1)
    (tmp_path / "big").write_bytes(data)
    storage, path = resolve(str(tmp_path / "store"))
    about = transfer.put_file(storage, tmp_path / "big", f"{path}/big")
    assert (tmp_path / "store" / "big").read_bytes() == data
    assert about == {"size": len(data), **checksum.of_file(tmp_path / "big")}


def test_a_disk_that_fills_up_is_told_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "big").write_bytes(bytes(10))
    storage, path = resolve(str(tmp_path / "store"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.copy_file_range", full)
    with pytest.raises(StorageError, match="No space left on device; the disk is full: free space") as caught:
        transfer.put_file(storage, tmp_path / "big", f"{path}/big")
    assert not caught.value.retryable
    assert list((tmp_path / "store").iterdir()) == []


def test_too_little_room_is_told_before_anything_is_fetched(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Memory()
    transfer.upload_directory(storage, source, "c")  # type: ignore[arg-type]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(StorageError, match="has 1000 bytes free and 100005 are to be downloaded"):
        transfer.download_directory(storage, "c", tmp_path / "back")  # type: ignore[arg-type]
    assert storage.calls.count("get_file") == 0


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/etc/outside"])
def test_a_name_that_leads_out_of_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    store = Memory()
    store.content = {"run/model.pt": b"m", f"run/{name}": b"x"}
    with pytest.raises(StorageError, match="leads out of it"):
        transfer.download_directory(store, "run", tmp_path / "here")  # type: ignore[arg-type]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
