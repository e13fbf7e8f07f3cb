"""Transfers on a real S3 server behind a network that fails: the right bytes arrive, or a StorageError tells why.

After each fault either the whole object is there, or none that looks whole and no parts of an upload.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.faults import Fault
from e2e.cluster.s3 import S3Server
from paceline.storage import Storage, StorageError, checksum, resolve, transfer
from tests.support.faultproxy import (
    Answer,
    Bandwidth,
    CutAnswer,
    CutRequest,
    FaultProxy,
    LoseAnswer,
    Reset,
    s3_error,
)
from tests.support.timeouts import LOCAL_S

MIB = 1024 * 1024
BUCKET = "transfers"
SIZE = 40 * MIB  # three parts
PART = "partNumber=2"
COMPLETE = "^/[^?]*[?]uploadId="
# Short enough that a store which refuses for ever is given up within a test.
PATIENCE_S = 1.0
SLOW_DOWN = s3_error(503, "SlowDown", "Please reduce your request rate.")
DENIED = s3_error(403, "AccessDenied", "Access Denied.")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("content") / "model.pt"
    file.write_bytes(os.urandom(SIZE))
    return file


@pytest.fixture
def server(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in s3_server.environment.items():
        if "ENDPOINT" not in name:
            monkeypatch.setenv(name, value)
    s3_server.make_bucket(BUCKET)
    return s3_server


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(server.endpoint) as one:
        yield one


@pytest.fixture
def store(proxy: FaultProxy, request: pytest.FixtureRequest) -> tuple[Storage, str]:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return resolve(f"s3://{BUCKET}/{name}/model.pt?endpoint_override={proxy.endpoint}")


class Bucket:
    """What really lies in the server, past the proxy."""

    def __init__(self, server: S3Server) -> None:
        self.client: Any = server.client()

    def content(self, path: str) -> bytes | None:
        key = path.removeprefix(f"{BUCKET}/")
        try:
            return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        except self.client.exceptions.NoSuchKey:
            return None

    def open_uploads(self, path: str) -> list[Any]:
        key = path.removeprefix(f"{BUCKET}/")
        found = self.client.list_multipart_uploads(Bucket=BUCKET, Prefix=key)
        return list(found.get("Uploads", []))


PASSING: list[Any] = [
    pytest.param(SLOW_DOWN, "PUT", PART, 3, id="a part is throttled three times"),
    pytest.param(SLOW_DOWN, "POST", "uploads=", 2, id="the beginning is throttled"),
    pytest.param(s3_error(500, "InternalError"), "PUT", PART, 2, id="a part fails in the server"),
    pytest.param(s3_error(500, "InternalError"), "POST", COMPLETE, 1, id="the end fails in the server"),
    pytest.param(Answer(200, "<Error><Code>InternalError</Code></Error>"), "POST", COMPLETE, 1, id="an error as 200"),
    pytest.param(Answer(200, ""), "POST", COMPLETE, 1, id="an empty answer to the end"),
    pytest.param(Reset(), "PUT", PART, 2, id="a part is reset"),
    pytest.param(CutRequest(0.5), "PUT", PART, 2, id="half a part"),
    pytest.param(LoseAnswer("reset"), "PUT", PART, 1, id="the answer to a part is lost"),
    pytest.param(LoseAnswer("reset"), "POST", COMPLETE, 1, id="the answer to the end is lost"),
    pytest.param(LoseAnswer("close"), "POST", COMPLETE, 1, id="the end is answered by a close"),
    pytest.param(LoseAnswer("close"), "POST", "uploads=", 1, id="the answer to the beginning is lost"),
]


@pytest.mark.parametrize(("fault", "method", "path", "times"), PASSING)
def test_an_upload_outlives_what_passes(
    proxy: FaultProxy,
    server: S3Server,
    store: tuple[Storage, str],
    content: Path,
    fault: Fault,
    method: str,
    path: str,
    times: int,
) -> None:
    storage, where = store
    rule = proxy.fail(fault, method=method, path=path, times=times)
    progress = transfer.Progress()
    about = transfer.put_file(storage, content, where, patience_s=LOCAL_S, progress=progress)
    assert rule.hits == times
    assert progress.retries >= 1 or isinstance(fault, LoseAnswer)
    assert (progress.bytes_done, progress.bytes_total, progress.files_done) == (SIZE, SIZE, 1)
    assert about == {"size": SIZE, **checksum.of_file(content)}
    assert Bucket(server).content(where) == content.read_bytes()
    # Only the part that failed was sent again.
    sent = [seen for seen in proxy.requests if seen.method == "PUT"]
    assert len(sent) == 3 + (times if method == "PUT" else 0)


FORGOTTEN = s3_error(404, "NoSuchUpload", "The specified upload does not exist.")


def test_a_store_that_has_forgotten_a_finished_upload_is_asked_for_the_object(
    proxy: FaultProxy, server: S3Server, store: tuple[Storage, str], content: Path
) -> None:
    storage, where = store
    proxy.fail(LoseAnswer("reset"), method="POST", path=COMPLETE)
    proxy.fail(FORGOTTEN, method="POST", path=COMPLETE)
    transfer.put_file(storage, content, where, patience_s=LOCAL_S)
    assert Bucket(server).content(where) == content.read_bytes()
    assert len([seen for seen in proxy.requests if seen.method == "PUT"]) == 3, "nothing is sent twice"


@pytest.mark.parametrize(("method", "path"), [("POST", COMPLETE), ("PUT", PART)])
def test_parts_that_the_store_has_lost_are_all_sent_again_once(
    proxy: FaultProxy, server: S3Server, store: tuple[Storage, str], content: Path, method: str, path: str
) -> None:
    storage, where = store
    # An older object of the same size must not be taken for the new one.
    old = content.with_name("old")
    old.write_bytes(bytes(SIZE))
    transfer.put_file(storage, old, where, patience_s=LOCAL_S)
    proxy.fail(FORGOTTEN, method=method, path=path)
    progress = transfer.Progress()
    transfer.put_file(storage, content, where, patience_s=LOCAL_S, progress=progress)
    assert Bucket(server).content(where) == content.read_bytes()
    assert progress.bytes_done == SIZE
    proxy.fail(FORGOTTEN, method=method, path=path, times=None)
    with pytest.raises(StorageError, match="has twice forgotten the parts of s3://"):
        transfer.put_file(storage, old, where, patience_s=LOCAL_S)
    assert Bucket(server).content(where) == content.read_bytes()
    assert Bucket(server).open_uploads(where) == []


LASTING: list[Any] = [
    pytest.param(SLOW_DOWN, "PUT", PART, 0, "SlowDown: Please reduce", True, id="a part is throttled for ever"),
    pytest.param(SLOW_DOWN, "POST", COMPLETE, 0, "SlowDown", True, id="the end is throttled for ever"),
    pytest.param(DENIED, "PUT", PART, 0, "AccessDenied: Access Denied; the credentials", False, id="a part is denied"),
    pytest.param(DENIED, "PUT", "partNumber=", 2, "AccessDenied", False, id="denied from the third part on"),
    pytest.param(DENIED, "POST", COMPLETE, 0, "AccessDenied", False, id="the end is denied"),
    pytest.param(DENIED, "POST", "uploads=", 0, "AccessDenied", False, id="the beginning is denied"),
    pytest.param(Reset(), "PUT", PART, 0, "reset", True, id="a part is reset for ever"),
    pytest.param(CutRequest(0.5), "PUT", PART, 0, "reset|closed|Broken", True, id="half a part for ever"),
]


@pytest.mark.parametrize(("fault", "method", "path", "skip", "said", "retryable"), LASTING)
def test_an_upload_that_cannot_succeed_says_why_and_leaves_nothing(
    proxy: FaultProxy,
    server: S3Server,
    store: tuple[Storage, str],
    content: Path,
    fault: Fault,
    method: str,
    path: str,
    skip: int,
    said: str,
    retryable: bool,
) -> None:
    storage, where = store
    proxy.fail(fault, method=method, path=path, times=None, skip=skip)
    with pytest.raises(StorageError, match=said) as caught:
        transfer.put_file(storage, content, where, patience_s=PATIENCE_S)
    assert str(caught.value).startswith(f"cannot upload s3://{where}: ")
    assert caught.value.retryable is retryable
    bucket = Bucket(server)
    assert bucket.content(where) is None
    assert bucket.open_uploads(where) == []
    if not retryable:
        assert len([seen for seen in proxy.requests if seen.fault]) <= 2, "a permanent error is not tried again"


DOWN: list[Any] = [
    pytest.param(SLOW_DOWN, 3, id="throttled"),
    pytest.param(Reset(), 2, id="reset"),
    pytest.param(CutAnswer(0.5), 2, id="half a range"),
    pytest.param(CutAnswer(0.0), 1, id="nothing of a range"),
    pytest.param(LoseAnswer("close"), 1, id="closed"),
]


@pytest.mark.parametrize(("fault", "times"), DOWN)
def test_a_download_goes_on_where_it_broke(
    proxy: FaultProxy,
    server: S3Server,
    store: tuple[Storage, str],
    content: Path,
    tmp_path: Path,
    fault: Fault,
    times: int,
) -> None:
    storage, where = store
    about = transfer.put_file(storage, content, where, patience_s=LOCAL_S)
    proxy.fail(fault, method="GET", path="/model.pt", times=times)
    progress = transfer.Progress()
    transfer.get_file(storage, where, tmp_path / "back", expected=about, patience_s=LOCAL_S, progress=progress)
    assert (tmp_path / "back").read_bytes() == content.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["back"]
    assert progress.retries == times
    assert progress.bytes_done == SIZE
    gets = [seen for seen in proxy.requests if seen.method == "GET"]
    assert len(gets) == 3 + times
    if fault == CutAnswer(0.5):
        # What had come is not asked for again.
        assert len({seen.headers.get("range") or seen.headers.get("Range") for seen in gets}) == 3 + times


def test_a_download_that_cannot_succeed_leaves_no_file(
    proxy: FaultProxy, store: tuple[Storage, str], content: Path, tmp_path: Path
) -> None:
    storage, where = store
    transfer.put_file(storage, content, where, patience_s=LOCAL_S)
    proxy.fail(DENIED, method="GET", path="/model.pt", times=None, skip=1)
    with pytest.raises(StorageError, match="AccessDenied"):
        transfer.get_file(storage, where, tmp_path / "back", patience_s=PATIENCE_S)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system with room for half of the content."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={SIZE // 2}", "tmpfs", str(place)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("seen_before", [True, False], ids=["free space is known", "quota shows at the write"])
def test_a_full_disk_ends_a_download_in_words_and_leaves_nothing(
    store: tuple[Storage, str],
    content: Path,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    proxy: FaultProxy,
    seen_before: bool,
) -> None:
    storage, where = store
    transfer.put_file(storage, content, where, patience_s=LOCAL_S)
    said = "bytes free and 41943040 are to be downloaded: free space"
    if not seen_before:
        monkeypatch.setattr(transfer, "_check_room", lambda *_: None)
        said = f"cannot write {small_disk}/back: No space left on device"
    with pytest.raises(StorageError, match=said) as caught:
        transfer.get_file(storage, where, small_disk / "back", patience_s=LOCAL_S)
    assert not caught.value.retryable
    assert list(small_disk.iterdir()) == []
    assert len([r for r in proxy.requests if r.method == "GET"]) == (0 if seen_before else 3)


def test_damage_is_seen_and_fetched_again(proxy: FaultProxy, store: tuple[Storage, str], tmp_path: Path) -> None:
    storage, where = store
    (tmp_path / "small").write_bytes(b"right")
    about = transfer.put_file(storage, tmp_path / "small", where, patience_s=LOCAL_S)
    wrong = Answer(200, "wrong")
    rule = proxy.fail(wrong, method="GET", path="/model.pt", times=1)
    transfer.get_file(storage, where, tmp_path / "back", expected=about, patience_s=LOCAL_S)
    assert (rule.hits, (tmp_path / "back").read_bytes()) == (1, b"right")
    proxy.fail(wrong, method="GET", path="/model.pt", times=None)
    with pytest.raises(StorageError, match=r"came with crc32c .* instead of"):
        transfer.get_file(storage, where, tmp_path / "again", expected=about, patience_s=LOCAL_S)
    assert not (tmp_path / "again").exists()


def test_the_server_may_die_in_the_middle_and_return(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Server.start_local(tmp_path / "own") as own, FaultProxy(own.endpoint) as proxy:
        for name, value in own.environment.items():
            if "ENDPOINT" not in name:
                monkeypatch.setenv(name, value)
        own.make_bucket(BUCKET)
        storage, path = resolve(f"s3://{BUCKET}/x?endpoint_override={proxy.endpoint}")
        source = tmp_path / "source"
        source.mkdir()
        (source / "big").write_bytes(os.urandom(200 * MIB))
        for i in range(20):
            (source / f"small-{i}").write_bytes(os.urandom(1000))

        def crash(method: str, count: int) -> threading.Thread:
            def wait_and_crash() -> None:
                proxy.wait_for(method, "/x/big", count=count, timeout_s=30)
                own.restart()

            thread = threading.Thread(target=wait_and_crash)
            thread.start()
            return thread

        crashing = crash("PUT", 6)
        progress = transfer.Progress()
        stored = transfer.upload_directory(storage, source, path, patience_s=30, progress=progress)
        crashing.join()
        assert progress.retries > 0
        before = progress.retries
        crashing = crash("GET", 6)
        transfer.download_directory(storage, path, tmp_path / "back", expected=stored, patience_s=30, progress=progress)
        crashing.join()
        assert progress.retries > before
        for file in source.iterdir():
            assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes(), file.name
        assert progress.bytes_done == progress.bytes_total == 2 * (200 * MIB + 20_000)


def test_a_wrong_clock_is_corrected_once(
    server: S3Server, content: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, path = resolve(f"s3://{BUCKET}/skewed?endpoint_override={server.endpoint}")
    real = time.time
    monkeypatch.setattr("paceline.storage._s3_objects.time.time", lambda: real() - 3600)
    about = transfer.put_file(storage, content, path, patience_s=PATIENCE_S)
    transfer.get_file(storage, path, tmp_path / "back", expected=about, patience_s=PATIENCE_S)
    assert (tmp_path / "back").read_bytes() == content.read_bytes()


def test_a_clock_that_cannot_be_corrected_is_told_in_words(
    proxy: FaultProxy, store: tuple[Storage, str], tmp_path: Path
) -> None:
    storage, where = store
    (tmp_path / "small").write_bytes(b"1")
    skewed = s3_error(403, "RequestTimeTooSkewed", "The difference is too large.")
    rule = proxy.fail(skewed, method="PUT", times=None)
    with pytest.raises(
        StorageError, match=r"RequestTimeTooSkewed.*the clock of this machine is wrong: set it"
    ) as caught:
        transfer.put_file(storage, tmp_path / "small", where, patience_s=LOCAL_S)
    assert not caught.value.retryable
    assert rule.hits <= 2


def test_a_slow_line_is_no_failure(
    proxy: FaultProxy, store: tuple[Storage, str], content: Path, tmp_path: Path
) -> None:
    storage, where = store
    proxy.fail(Bandwidth(20 * MIB), times=None)
    progress = transfer.Progress()
    # Much longer than the patience: that one counts from a request's first failure, and there is none.
    about = transfer.put_file(storage, content, where, patience_s=0.1, progress=progress)
    transfer.get_file(storage, where, tmp_path / "back", expected=about, patience_s=0.1, progress=progress)
    assert (tmp_path / "back").read_bytes() == content.read_bytes()
    assert progress.retries == 0
    assert 5 * MIB < progress.bytes_per_s < 40 * MIB
