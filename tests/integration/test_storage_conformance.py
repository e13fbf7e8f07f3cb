"""Every store keeps every promise of `paceline.storage.Storage`, on real servers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from paceline.storage import RangeReader, Storage, StorageError, StorageNotFoundError, resolve, to_arrow
from tests.support import timeouts

MIB = 1024 * 1024
THREADS = 16


@dataclass(frozen=True)
class Place:
    """Where a store of one kind is, and what is special about it."""

    path: str
    filesystem: Any = None
    exclusive: bool = True
    refused_names: tuple[str, ...] = ()  # the store knows no such names
    many: int = 1100  # more than a page of a listing
    filler: tuple[Storage, str] | None = None  # the same place, where many files cost less CPU

    def open(self) -> tuple[Storage, str]:
        return resolve(self.path, self.filesystem)


def local(request: pytest.FixtureRequest) -> Place:
    return Place(str(request.getfixturevalue("tmp_path") / "runs"))


def s3(request: pytest.FixtureRequest) -> Place:
    server = request.getfixturevalue("s3_server")
    keep = request.getfixturevalue("monkeypatch").setenv
    for name, value in server.environment.items():
        if "ENDPOINT" not in name:
            keep(name, value)
    bucket = server.make_bucket("conformance")
    return Place(f"{bucket}/{uuid.uuid4().hex}?endpoint_override={server.endpoint}")


def gcs(request: pytest.FixtureRequest) -> Place:
    server = request.getfixturevalue("gcs_server")
    bucket = server.make_bucket("conformance")
    return Place(f"{bucket}/{uuid.uuid4().hex}?endpoint_override={server.endpoint}&anonymous=true")


def hdfs(request: pytest.FixtureRequest) -> Place:
    server = request.getfixturevalue("hdfs_server")
    directory = server.make_directory(uuid.uuid4().hex)
    return Place(f"{server.hdfs_uri}{directory}/runs?user={server.user}", refused_names=("a:b",))


def webhdfs(request: pytest.FixtureRequest) -> Place:
    server = request.getfixturevalue("hdfs_server")
    directory = server.make_directory(uuid.uuid4().hex)
    # It lists a directory in one answer, and a file costs three requests.
    return Place(f"{server.webhdfs_uri}{directory}/runs?user={server.user}", refused_names=("a:b",), many=110)


def memory(request: pytest.FixtureRequest) -> Place:
    # An object of its own; `memory://` in a URI is one for the whole process.
    import fsspec

    return Place(uuid.uuid4().hex, fsspec.filesystem("memory"), exclusive=False)


def memory_uri(request: pytest.FixtureRequest) -> Place:
    return Place(f"memory://{uuid.uuid4().hex}/runs", exclusive=False)


def arrow_local(request: pytest.FixtureRequest) -> Place:
    from pyarrow import fs

    return Place(str(request.getfixturevalue("tmp_path") / "runs"), fs.LocalFileSystem())


def arrow_subtree(request: pytest.FixtureRequest) -> Place:
    from pyarrow import fs

    base = str(request.getfixturevalue("tmp_path"))
    return Place("runs", fs.SubTreeFileSystem(base, fs.LocalFileSystem()), exclusive=False)


def arrow_s3(request: pytest.FixtureRequest) -> Place:
    storage, path = s3(request).open()
    made, inside = to_arrow(storage, path)
    return Place(inside, made, exclusive=False, filler=(storage, path))


def arrow_gcs(request: pytest.FixtureRequest) -> Place:
    storage, path = gcs(request).open()
    made, inside = to_arrow(storage, path)
    return Place(inside, made, exclusive=False, filler=(storage, path))


def arrow_fsspec(request: pytest.FixtureRequest) -> Place:
    import fsspec
    from pyarrow import fs

    wrapped = fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem("memory")))
    return Place(uuid.uuid4().hex, wrapped, exclusive=False)


def fsspec_gcs(request: pytest.FixtureRequest) -> Place:
    import gcsfs

    request.getfixturevalue("monkeypatch").setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    endpoint = request.getfixturevalue("gcs_server").endpoint
    storage, path = gcs(request).open()
    return Place(path, gcsfs.core.GCSFileSystem(token="anon", endpoint_url=endpoint), filler=(storage, path))


KINDS: list[Callable[[pytest.FixtureRequest], Place]] = [
    local, s3, gcs, hdfs, webhdfs, memory, memory_uri, arrow_local, arrow_subtree, arrow_s3, arrow_gcs, arrow_fsspec,
    fsspec_gcs,
]  # fmt: skip
ODD_NAMES = [
    "with space", "per%20cent", "plus+", "ünïcode-数据", ".hidden", "key=value", "a&b", "a#b", "a?b", "a;b", "a:b",
    "star*", "br[0]acket", "q'uote", "curly{0}", "a,b", "a@b", "~tilde", "deep/" * 12 + "leaf",
]  # fmt: skip


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def place(request: pytest.FixtureRequest) -> Place:
    made: Place = request.param(request)
    return made


@pytest.fixture
def store(place: Place) -> tuple[Storage, str]:
    return place.open()


def at_once(call: Callable[[Any], Any], items: Any) -> list[Any]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(call, items, timeout=timeouts.STORE_S))


def listed(storage: Storage, path: str) -> dict[str, int]:
    return {entry.name: entry.size for entry in storage.files(path)}


class TestEveryStore:
    def test_check_proves_a_write_and_leaves_nothing(self, store: tuple[Storage, str]) -> None:
        storage, path = store
        storage.check(path)
        storage.check(f"{path}/below")
        assert listed(storage, path) == {}

    def test_what_is_written_is_read_listed_and_measured(self, store: tuple[Storage, str]) -> None:
        storage, path = store
        storage.write(f"{path}/d/e/file", b"first, and longer")
        storage.write(f"{path}/d/e/file", b"second")
        storage.write(f"{path}/d/empty", b"")
        storage.write(f"{path}/top", b"1")
        assert storage.read(f"{path}/d/e/file") == b"second"
        assert storage.read(f"{path}/d/empty") == b""
        assert listed(storage, path) == {"d/e/file": 6, "d/empty": 0, "top": 1}
        assert listed(storage, f"{path}/d/e") == {"file": 6}
        assert storage.directories(path) == ["d"]
        assert storage.directories(f"{path}/d") == ["e"]
        assert (storage.size(f"{path}/d/e/file"), storage.size(f"{path}/d/empty")) == (6, 0)
        assert storage.size(f"{path}/d") is None

    def test_what_is_not_there_is_told_apart(self, store: tuple[Storage, str], tmp_path: Path) -> None:
        storage, path = store
        storage.check(path)
        with pytest.raises(StorageNotFoundError, match="missing") as caught:
            storage.read(f"{path}/missing")
        assert not caught.value.retryable
        with pytest.raises(StorageNotFoundError):
            storage.get_file(f"{path}/missing", str(tmp_path / "back"))
        assert list(tmp_path.glob("back*")) == []
        assert storage.size(f"{path}/missing") is None
        assert listed(storage, f"{path}/missing") == {}
        assert storage.directories(f"{path}/missing") == []
        storage.delete(f"{path}/missing")
        storage.delete_directory(f"{path}/missing")

    def test_files_go_up_and_come_down(self, store: tuple[Storage, str], tmp_path: Path) -> None:
        storage, path = store
        for name, size in (("big", 20 * MIB), ("empty", 0), ("boundary", 0)):
            (tmp_path / name).write_bytes(os.urandom(size))
        # The boundary of one client's form upload.
        (tmp_path / "boundary").write_bytes(b"before\r\n--==0==--\r\nafter\n--==0==\n")
        for name in ("big", "empty", "boundary"):
            storage.put_file(str(tmp_path / name), f"{path}/x/{name}")
            storage.get_file(f"{path}/x/{name}", str(tmp_path / f"{name}.back"))
            assert (tmp_path / f"{name}.back").read_bytes() == (tmp_path / name).read_bytes()
        storage.put_file(str(tmp_path / "boundary"), f"{path}/x/big")
        assert storage.size(f"{path}/x/big") == (tmp_path / "boundary").stat().st_size
        storage.get_file(f"{path}/x/empty", str(tmp_path / "big.back"))
        assert (tmp_path / "big.back").read_bytes() == b""
        assert {p.name for p in tmp_path.iterdir() if "partial" in p.name} == set()

    def test_a_part_of_a_file_is_read(self, store: tuple[Storage, str]) -> None:
        storage, path = store
        if not isinstance(storage, RangeReader):
            assert storage.scheme == "s3"  # transfers of S3 have ranges of their own
            return
        content = os.urandom(100_000)
        storage.write(f"{path}/file", content)
        for offset, length in ((0, 10), (99_990, 100), (5, 50_000), (100_000, 1), (0, 0)):
            assert storage.get_range(f"{path}/file", offset, length) == content[offset : offset + length]

    def test_a_local_file_that_cannot_be_read_leaves_nothing(self, store: tuple[Storage, str], tmp_path: Path) -> None:
        storage, path = store
        storage.check(path)
        with pytest.raises(StorageError):
            storage.put_file(str(tmp_path / "missing"), f"{path}/file")
        with pytest.raises(StorageError):
            storage.put_file(str(tmp_path), f"{path}/file")
        assert listed(storage, path) == {}

    def test_names_of_any_kind_survive(self, place: Place, tmp_path: Path) -> None:
        storage, path = place.open()
        names = [name for name in ODD_NAMES if name not in place.refused_names]

        def there_and_back(name: str) -> bytes:
            source, back = tmp_path / f"{names.index(name)}", tmp_path / f"{names.index(name)}.back"
            source.write_text(name)
            storage.put_file(str(source), f"{path}/{name}")
            storage.get_file(f"{path}/{name}", str(back))
            assert storage.read(f"{path}/{name}") == name.encode()
            assert storage.size(f"{path}/{name}") == len(name.encode())
            assert storage.create_if_absent(f"{path}/new/{name}", b"") is True
            return back.read_bytes()

        assert at_once(there_and_back, names) == [name.encode() for name in names]
        wanted = {name: len(name.encode()) for name in names}
        assert listed(storage, path) == wanted | {f"new/{name}": 0 for name in names}
        at_once(lambda name: storage.delete(f"{path}/{name}"), names)
        assert set(listed(storage, path)) == {f"new/{name}" for name in names}
        storage.delete_directory(f"{path}/new")
        assert listed(storage, path) == {}

    def test_a_name_that_the_store_refuses_is_an_error_for_good(self, place: Place) -> None:
        storage, path = place.open()
        for name in place.refused_names:
            with pytest.raises(StorageError, match="a:b") as caught:
                storage.write(f"{path}/{name}", b"1")
            assert not caught.value.retryable

    def test_a_listing_is_whole_beyond_one_page(self, place: Place) -> None:
        storage, path = place.open()
        names = [f"{i % 3}/{i:05}" for i in range(place.many)]
        filler, inside = place.filler or (storage, path)
        at_once(lambda name: filler.write(f"{inside}/{name}", b""), names)
        assert sorted(listed(storage, path)) == sorted(names)
        assert storage.directories(path) == ["0", "1", "2"]
        storage.delete_directory(path)
        assert listed(storage, path) == {}

    def test_a_directory_is_deleted_and_its_neighbours_stay(self, store: tuple[Storage, str]) -> None:
        storage, path = store
        for name in ("run/a", "run/b/c", "run2/a", "runs", "star*/a", "starry/a", "br[ab]/x", "bra/x"):
            storage.write(f"{path}/{name}", b"1")
        for name in ("run", "star*", "br[ab]"):
            storage.delete_directory(f"{path}/{name}")
        assert set(listed(storage, path)) == {"run2/a", "runs", "starry/a", "bra/x"}
        assert not {"run", "star*"} & set(storage.directories(path))

    def test_create_if_absent_keeps_the_first(self, place: Place) -> None:
        storage, path = place.open()
        assert storage.exclusive is place.exclusive
        assert storage.create_if_absent(f"{path}/d/one", b"first")
        assert not storage.create_if_absent(f"{path}/d/one", b"second")
        assert storage.read(f"{path}/d/one") == b"first"
        assert storage.create_if_absent(f"{path}/d/one", b"first")  # the answer of the first call was lost
        storage.delete(f"{path}/d/one")
        assert storage.create_if_absent(f"{path}/d/one", b"second")
        assert listed(storage, path) == {"d/one": 6}

    def test_of_many_creators_one_wins(self, place: Place) -> None:
        # Clients of their own, as of many machines. Where that is not promised, those of one process still agree.
        stores = [place.open() for _ in range(4)]
        path = stores[0][1]
        for round_number in range(3):
            start = threading.Barrier(THREADS)

            def create(i: int, start: threading.Barrier = start, target: str = f"{path}/{round_number}") -> bool:
                storage = stores[i % len(stores)][0]
                start.wait(timeouts.STORE_S)
                return storage.create_if_absent(target, f"writer {i}".encode())

            won = at_once(create, range(THREADS))
            assert won.count(True) == 1
            assert stores[0][0].read(f"{path}/{round_number}") == f"writer {won.index(True)}".encode()
        assert set(listed(*stores[0])) == {"0", "1", "2"}

    def test_a_reader_never_sees_a_part(self, store: tuple[Storage, str], tmp_path: Path) -> None:
        storage, path = store
        contents = [bytes([65 + i]) * (2 * MIB + i) for i in range(2)]
        for i, content in enumerate(contents):
            (tmp_path / str(i)).write_bytes(content)
        done = threading.Event()
        seen: list[bytes] = []

        def watch() -> None:
            while not done.is_set():
                try:
                    found = storage.read(f"{path}/file")
                except StorageNotFoundError:
                    continue
                if found not in contents:
                    seen.append(found[:20] + b"...%d" % len(found))
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for i in range(6):
                if i % 3:
                    storage.write(f"{path}/file", contents[i % 2])
                else:
                    storage.put_file(str(tmp_path / str(i % 2)), f"{path}/file")
        finally:
            done.set()
            watcher.join(timeouts.STORE_S)
        assert seen == []

    def test_sixteen_threads_share_one_store(self, store: tuple[Storage, str], tmp_path: Path) -> None:
        storage, path = store

        def work(i: int) -> tuple[bytes, bytes, int]:
            source, back = tmp_path / f"{i}", tmp_path / f"{i}.back"
            source.write_bytes(os.urandom(300_000 + i))
            storage.put_file(str(source), f"{path}/{i}/file")
            storage.get_file(f"{path}/{i}/file", str(back))
            assert listed(storage, f"{path}/{i}") == {"file": 300_000 + i}
            storage.write(f"{path}/shared", b"x" * 1000)
            return source.read_bytes(), back.read_bytes(), len(storage.read(f"{path}/shared"))

        for sent, came, shared in at_once(work, range(THREADS)):
            assert sent == came
            assert shared == 1000
        assert len(listed(storage, path)) == THREADS + 1

    def test_the_uri_leads_back(self, place: Place) -> None:
        storage, path = place.open()
        storage.write(f"{path}/file", b"1")
        again, same = resolve(storage.uri(f"{path}/file"), place.filesystem)
        assert same == f"{path}/file"
        assert again.read(same) == b"1"

    def test_pyarrow_sees_the_same_files(self, store: tuple[Storage, str]) -> None:
        from pyarrow import fs

        storage, path = store
        storage.write(f"{path}/d/a b", b"content")
        filesystem, inside = to_arrow(storage, path)
        found = filesystem.get_file_info(fs.FileSelector(inside, recursive=True))
        assert {(f.base_name, f.size) for f in found if f.type == fs.FileType.File} == {("a b", 7)}
        with filesystem.open_input_stream(f"{inside}/d/a b") as stream:
            assert stream.read() == b"content"


FORKING = """
import multiprocessing, sys
from concurrent.futures import ThreadPoolExecutor
from paceline.storage import resolve
storage, path = resolve(sys.argv[1])
storage.write(f"{path}/parent", b"1")

def child():
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: storage.read(f"{path}/parent"), range(8))) == [b"1"] * 8
    storage.write(f"{path}/child", storage.read(f"{path}/parent") + b" seen")

process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(float(sys.argv[2]))
assert process.exitcode == 0, process.exitcode
assert storage.read(f"{path}/child") == b"1 seen"
"""


@pytest.mark.parametrize("place", [local, s3, gcs, webhdfs], indirect=True)
def test_a_forked_child_uses_the_store(place: Place) -> None:
    # In a process of its own: this one has the threads of every other client by now.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FORKING, place.path, str(timeouts.AGENT_RUN_S)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeouts.STORE_S)
    assert done.returncode == 0, done.stderr


@pytest.fixture(autouse=True)
def _no_user_of_hdfs(monkeypatch: pytest.MonkeyPatch) -> None:
    # A URI with ?user= sets it for the process; this puts it back.
    monkeypatch.setenv("HADOOP_USER_NAME", "")
    monkeypatch.delenv("HADOOP_USER_NAME")
