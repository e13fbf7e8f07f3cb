"""The promises that hold whatever a client library does: torn uploads, lost answers, moves that fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from paceline.storage import StorageError, resolve
from paceline.storage._arrow import ArrowStorage
from paceline.storage._errors import WaysOut
from paceline.storage._process import PerProcess
from paceline.storage._tree import TreeStorage, walk


class FakeTree:
    """A store in a dict, whose calls can be made to go wrong."""

    scheme = "fake"
    ways = WaysOut()

    def __init__(self, *, exclusive: bool = True, renames: bool = True) -> None:
        self.exclusive = exclusive
        self.renames = renames
        self.stored: dict[str, bytes] = {}
        self.keeps = 10**9  # bytes of a put; the rest is lost without a word
        self.after: dict[str, Callable[[], None]] = {}

    def uri(self, path: str) -> str:
        return f"fake://{path}"

    def prepare(self, path: str) -> None: ...

    def make_directory(self, path: str) -> None: ...

    def put_bytes(self, path: str, data: bytes) -> None:
        self.stored[path] = data[: self.keeps]
        self._then("put")

    def put_new(self, path: str, data: bytes) -> None:
        if path in self.stored:
            raise FileExistsError(path)
        self.put_bytes(path, data)

    def put_file(self, local: str, path: str) -> None:
        self.put_bytes(path, Path(local).read_bytes())

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        if target in self.stored and not replace:
            raise FileExistsError(target)
        self.stored[target] = self.stored.pop(source)
        self._then("rename")

    def get_bytes(self, path: str, start: int, end: int | None) -> bytes:
        if path not in self.stored:
            raise FileNotFoundError(path)
        return self.stored[path][start:end]

    def get_file(self, path: str, local: str) -> None:
        Path(local).write_bytes(self.get_bytes(path, 0, None))
        self._then("get")

    def size(self, path: str) -> int | None:
        return len(self.stored[path]) if path in self.stored else None

    def find(self, directory: str) -> Iterator[tuple[str, int]]:
        yield from [(path, len(data)) for path, data in self.stored.items() if path.startswith(directory)]
        self._then("find")

    def directories(self, directory: str) -> list[str]:
        return []

    def remove(self, path: str) -> None:
        if self.stored.pop(path, None) is None:
            raise FileNotFoundError(path)

    def remove_tree(self, directory: str) -> bool:
        return False

    def fail(self, call: str, error: Exception) -> None:
        def raise_it() -> None:
            raise error

        self.after[call] = raise_it

    def _then(self, call: str) -> None:
        self.after.pop(call, lambda: None)()


EACH = pytest.mark.parametrize("renames", [True, False], ids=["renames", "whole"])


@EACH
def test_an_upload_that_lost_its_end_is_an_error_and_leaves_nothing(renames: bool, tmp_path: Path) -> None:
    tree = FakeTree(renames=renames)
    tree.keeps = 3
    (tmp_path / "f").write_bytes(b"four")
    with pytest.raises(StorageError, match="3 bytes instead of 4") as caught:
        TreeStorage(tree).put_file(str(tmp_path / "f"), "d/f")
    assert caught.value.retryable
    assert tree.stored == {}


def test_a_write_that_fails_keeps_the_old_content() -> None:
    tree = FakeTree()
    storage = TreeStorage(tree)
    storage.write("d/f", b"old")
    tree.fail("put", OSError("lost"))
    with pytest.raises(StorageError, match="cannot write fake://d/f: lost"):
        storage.write("d/f", b"new")
    assert tree.stored == {"d/f": b"old"}


@EACH
@pytest.mark.parametrize("exclusive", [True, False])
def test_a_repeated_create_whose_answer_was_lost_has_won(renames: bool, exclusive: bool) -> None:
    tree = FakeTree(renames=renames, exclusive=exclusive)
    storage = TreeStorage(tree)
    tree.fail("rename" if renames else "put", ConnectionResetError("reset"))
    with pytest.raises(StorageError) as caught:
        storage.create_if_absent("d/f", b"mine")
    assert caught.value.retryable
    assert storage.create_if_absent("d/f", b"mine")
    assert not storage.create_if_absent("d/f", b"other")
    assert tree.stored == {"d/f": b"mine"}


@EACH
def test_a_client_that_repeats_by_itself_meets_its_own_write(renames: bool) -> None:
    # The library's first try arrived, its answer did not, and its second try is refused.
    tree = FakeTree(renames=renames)
    tree.fail("rename" if renames else "put", FileExistsError("d/f"))
    assert TreeStorage(tree).create_if_absent("d/f", b"mine")
    assert tree.stored == {"d/f": b"mine"}


def test_a_listing_that_breaks_is_an_error_not_an_end() -> None:
    tree = FakeTree()
    storage = TreeStorage(tree)
    storage.write("d/f", b"1")
    tree.fail("find", ConnectionResetError("reset"))
    with pytest.raises(StorageError, match="cannot list fake://d"):
        list(storage.files("d"))


def test_files_on_their_way_are_not_listed() -> None:
    tree = FakeTree()
    tree.stored = {"d/.paceline-partial-f-1": b"1", "d/f": b"2", "d2/f": b"3", "d/.hidden": b""}
    assert [entry.name for entry in TreeStorage(tree).files("d/")] == ["f", ".hidden"]


def test_a_download_that_fails_leaves_nothing(tmp_path: Path) -> None:
    tree = FakeTree()
    tree.stored = {"d/f": b"1"}
    tree.fail("get", TimeoutError("timed out"))
    with pytest.raises(StorageError, match="cannot download"):
        TreeStorage(tree).get_file("d/f", str(tmp_path / "f"))
    assert list(tmp_path.iterdir()) == []


def test_check_sees_a_store_that_gives_back_something_else() -> None:
    tree = FakeTree()
    tree.get_bytes = lambda *_: b"cached"  # type: ignore[method-assign]
    with pytest.raises(StorageError, match="did not come back as it was written"):
        TreeStorage(tree).check("d")


def test_a_walk_passes_over_what_vanishes_and_stops_at_what_fails() -> None:
    tree: dict[str, Any] = {"d": [("d/a", True, 0), ("d/f", False, 1)], "d/a": FileNotFoundError()}

    def listing(directory: str) -> list[tuple[str, bool, int]]:
        found = tree[directory]
        if isinstance(found, Exception):
            raise found
        return list(found)

    assert list(walk(listing, "d")) == [("d/f", 1)]
    tree["d/a"] = PermissionError("no")
    with pytest.raises(PermissionError):
        list(walk(listing, "d"))


def test_a_value_is_made_once_in_each_process() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(os.getpid())
        return len(made)

    value = PerProcess(make)
    assert [value.get(), value.get()] == [1, 1]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, bytes([value.get(), value.get()]))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 2) == bytes([2, 2])
    assert value.get() == 1


def test_a_pyarrow_upload_whose_source_fails_publishes_nothing(tmp_path: Path) -> None:
    from pyarrow import fs

    storage = ArrowStorage(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()))
    storage.tree.renames = False  # as on an object store, where closing the stream publishes

    def broken() -> Iterator[bytes]:
        yield b"a part"
        raise OSError("the disk of this machine")

    with pytest.raises(OSError, match="the disk"):
        storage.tree._put("file", broken(), 100)  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError, match="6 bytes instead of 100"):
        storage.tree._put("file", iter([b"a part"]), 100)  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_names_that_look_like_patterns_touch_nothing_else() -> None:
    filesystem = fsspec.filesystem("memory", global_store=False, skip_instance_cache=True)
    storage, path = resolve("base", filesystem)
    for name in ("a1", "a2", "a*"):
        storage.write(f"{path}/{name}/f", name.encode())
    storage.delete_directory(f"{path}/a*")
    storage.write(f"{path}/x?/f", b"?")
    assert sorted(entry.name for entry in storage.files(path)) == ["a1/f", "a2/f", "x?/f"]
