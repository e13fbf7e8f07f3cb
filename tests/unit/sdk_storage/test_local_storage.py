from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from paceline.storage import StorageError, StorageNotFoundError, join, resolve, retry
from paceline.storage._s3_options import S3Options


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "is empty"),
        ("nosuch://b/x", "nosuch:// are not supported: use a plain path, file://, s3://"),
        ("s3:///x", "names no bucket"),
        ("file://host/x", "three slashes"),
        ("s3://b/x?acces=SECRETVALUE", "unknown key 'acces'.*use endpoint_override, scheme, region"),
        ("s3://b/x?scheme=ftp", "use http or https"),
        ("s3://b/x?allow_bucket_creation=maybe", "use true or false"),
    ],
)
def test_a_bad_path_is_refused_with_the_way_out(uri: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as caught:
        resolve(uri)
    assert "SECRETVALUE" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "endpoint"),
    [
        ({}, None),
        ({"endpoint_override": "http://h:9000"}, "http://h:9000"),
        ({"endpoint_override": "h:9000"}, "https://h:9000"),
        ({"endpoint_override": "h:9000", "scheme": "http"}, "http://h:9000"),
    ],
)
def test_the_endpoint_of_a_query(query: dict[str, str], endpoint: str | None) -> None:
    assert S3Options.from_query(query.items()).endpoint_url == endpoint


def test_join_keeps_the_query_at_the_end() -> None:
    assert join("s3://b/p/?region=x", "a", "c") == "s3://b/p/a/c?region=x"
    assert join("/p/what?", "a") == "/p/what?/a"


def test_files_on_a_directory(tmp_path: Path) -> None:
    storage, path = resolve(f"file://{tmp_path}/s")
    storage.check(path)
    storage.write(f"{path}/a/b", b"1")
    storage.write(f"{path}/a/b", b"12")
    (tmp_path / "f").write_text("123")
    storage.put_file(str(tmp_path / "f"), f"{path}/a/c/d")
    assert sorted((e.name, e.size) for e in storage.files(path)) == [("a/b", 2), ("a/c/d", 3)]
    assert (storage.directories(path), storage.size(f"{path}/x"), storage.size(f"{path}/a/b")) == (["a"], None, 2)
    storage.get_file(f"{path}/a/c/d", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "123"
    storage.delete(f"{path}/a/b")
    storage.delete(f"{path}/a/b")
    storage.delete_directory(f"{path}/a")
    storage.delete_directory(f"{path}/a")
    assert list(storage.files(path)) == []
    assert storage.directories(f"{path}/none") == []
    with pytest.raises(StorageNotFoundError):
        storage.read(f"{path}/none")


def test_of_many_that_create_the_same_file_one_wins(tmp_path: Path) -> None:
    storage, path = resolve(str(tmp_path))
    start = threading.Barrier(8)

    def create(i: int) -> bool:
        start.wait()
        return storage.create_if_absent(f"{path}/d/one", str(i).encode())

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert won.count(True) == 1
    assert storage.read(f"{path}/d/one") == str(won.index(True)).encode()
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["one"]


def test_a_path_through_a_file_is_permanent_and_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    storage, path = resolve(str(tmp_path / "file/x"))
    with pytest.raises(StorageError, match="file/x") as caught:
        storage.write(f"{path}/y", b"")
    assert not caught.value.retryable


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("failures", "retryable", "patience_s", "tries"),
    [
        pytest.param(0, True, 10, 1, id="at once"),
        pytest.param(3, True, 10, 4, id="after three"),
        pytest.param(3, False, 10, 1, id="permanent"),
    ],
)
def test_retries(failures: int, retryable: bool, patience_s: float, tries: int) -> None:
    clock, seen = Clock(), []

    def action() -> str:
        seen.append(clock.now)
        if len(seen) <= failures:
            raise StorageError("no", retryable=retryable)
        return "done"

    if failures < tries:
        assert retry.call(action, patience_s=patience_s, clock=clock, sleep=clock.sleep) == "done"
    else:
        with pytest.raises(StorageError):
            retry.call(action, patience_s=patience_s, clock=clock, sleep=clock.sleep)
    assert len(seen) == tries


def test_patience_ends_and_waits_double() -> None:
    clock, seen = Clock(), []

    def action() -> None:
        seen.append(clock.now)
        raise StorageError("no", retryable=True)

    with pytest.raises(StorageError):
        retry.call(action, patience_s=5, clock=clock, sleep=clock.sleep)
    assert seen[-1] <= 5
    waits = [later - earlier for earlier, later in itertools.pairwise(seen)]
    assert all(0.1 * 2**i <= wait <= 0.2 * 2**i for i, wait in enumerate(waits))
    assert len(waits) >= 3
