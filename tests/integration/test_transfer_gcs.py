"""Transfers on a real server of Google's storage API, behind a network that fails and with objects that change."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.faults import Fault
from e2e.cluster.gcs import GcsServer
from paceline.storage import Storage, StorageError, StorageNotFoundError, checksum, resolve, transfer
from tests.support.faultproxy import Answer, CutAnswer, CutRequest, FaultProxy, LoseAnswer, Reset
from tests.support.timeouts import LOCAL_S

MIB = 1024 * 1024
BUCKET = "transfers"
SIZE = 40 * MIB  # three ranges
PATIENCE_S = 1.0
NAMES = {"a b/ü?&.txt": 12, "c": 1, "d/e/f": 5}  # bytes: those of the name itself
BUSY = Answer(503, '{"error": {"code": 503, "message": "Backend Error"}}')
DENIED = Answer(403, '{"error": {"code": 403, "message": "robot has no storage.objects.create access."}}')


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("content") / "model.pt"
    file.write_bytes(os.urandom(SIZE))
    return file


@pytest.fixture
def proxy(gcs_server: GcsServer) -> Iterator[FaultProxy]:
    gcs_server.make_bucket(BUCKET)
    with FaultProxy(gcs_server.endpoint) as one:
        yield one


@pytest.fixture
def store(proxy: FaultProxy, request: pytest.FixtureRequest) -> tuple[Storage, str]:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return resolve(f"gs://{BUCKET}/{name}/model.pt?anonymous=true&endpoint_override={proxy.endpoint}")


@pytest.fixture
def stored(store: tuple[Storage, str], content: Path) -> tuple[Storage, str, dict[str, Any]]:
    storage, where = store
    return storage, where, transfer.put_file(storage, content, where, patience_s=LOCAL_S)


def sent(proxy: FaultProxy, method: str, path: str) -> int:
    return sum(seen.method == method and path in seen.path for seen in proxy.requests)


@pytest.mark.parametrize(
    "fault",
    [BUSY, Answer(429, ""), Reset(), CutRequest(0.5), LoseAnswer("reset"), LoseAnswer("close")],
    ids=["503", "429", "reset", "half a request", "lost answer", "answered by a close"],
)
def test_an_upload_outlives_what_passes(
    proxy: FaultProxy, store: tuple[Storage, str], content: Path, fault: Fault
) -> None:
    storage, where = store
    rule = proxy.fail(fault, method="POST", path="uploadType=media", times=2)
    progress = transfer.Progress()
    about = transfer.put_file(storage, content, where, patience_s=LOCAL_S, progress=progress)
    assert rule.hits == 2
    assert about == {"size": SIZE, **checksum.of_file(content)}
    assert (progress.bytes_done, progress.bytes_total, progress.files_done) == (SIZE, SIZE, 1)
    assert storage.read(where) == content.read_bytes()


def test_an_upload_is_one_request(proxy: FaultProxy, store: tuple[Storage, str], content: Path) -> None:
    storage, where = store
    before = len(proxy.requests)
    transfer.put_file(storage, content, where, patience_s=LOCAL_S)
    assert [(seen.method, seen.status) for seen in proxy.requests[before:]] == [("POST", 200)]


@pytest.mark.parametrize(
    ("fault", "said"),
    [(DENIED, "roles/storage.objectAdmin"), (BUSY, "Backend Error")],
    ids=["no permission", "busy for ever"],
)
def test_an_upload_that_cannot_be_made_says_why(
    proxy: FaultProxy, store: tuple[Storage, str], content: Path, fault: Fault, said: str
) -> None:
    storage, where = store
    rule = proxy.fail(fault, method="POST", times=100)
    with pytest.raises(StorageError, match=said) as caught:
        transfer.put_file(storage, content, where, patience_s=PATIENCE_S)
    assert f"cannot upload gs://{where}" in str(caught.value)
    assert (rule.hits == 1) is (fault is DENIED)
    assert storage.size(where) is None


def test_what_the_store_has_taken_wrongly_is_removed_and_sent_again(
    proxy: FaultProxy, store: tuple[Storage, str], content: Path
) -> None:
    storage, where = store
    wrong = Answer(200, f'{{"size": "{SIZE}", "crc32c": "AAAAAA==", "generation": "1"}}')
    proxy.fail(wrong, method="POST", times=1)
    transfer.put_file(storage, content, where, patience_s=LOCAL_S)
    assert sent(proxy, "POST", "uploadType=media") == 2
    assert sent(proxy, "DELETE", "ifGenerationMatch=1") == 1
    assert storage.read(where) == content.read_bytes()


def test_a_bucket_that_is_not_there_is_named_with_the_way_out(proxy: FaultProxy, content: Path) -> None:
    storage, where = resolve(f"gs://nowhere/run/model.pt?anonymous=true&endpoint_override={proxy.endpoint}")
    with pytest.raises(StorageError, match="create the bucket") as caught:
        transfer.put_file(storage, content, where, patience_s=LOCAL_S)
    assert not isinstance(caught.value, StorageNotFoundError)


@pytest.mark.parametrize(
    "fault", [BUSY, Reset(), CutAnswer(0.3), LoseAnswer("close")], ids=["503", "reset", "cut", "lost answer"]
)
def test_a_download_goes_on_where_it_broke(
    proxy: FaultProxy, stored: tuple[Storage, str, dict[str, Any]], content: Path, tmp_path: Path, fault: Fault
) -> None:
    storage, where, about = stored
    rule = proxy.fail(fault, method="GET", path="alt=media", times=2)
    progress = transfer.Progress()
    transfer.get_file(storage, where, tmp_path / "back", expected=about, patience_s=LOCAL_S, progress=progress)
    assert rule.hits == 2
    assert (tmp_path / "back").read_bytes() == content.read_bytes()
    assert (progress.bytes_done, progress.files_done) == (SIZE, 1)
    assert sent(proxy, "GET", "alt=media") == 3 + 2


def test_a_file_that_changes_while_it_is_read_is_never_a_mixture(
    proxy: FaultProxy, stored: tuple[Storage, str, dict[str, Any]], content: Path, tmp_path: Path
) -> None:
    storage, where, _ = stored
    newer = tmp_path / "newer"
    newer.write_bytes(os.urandom(SIZE))
    rule = proxy.fail(BUSY, method="GET", path="alt=media", times=1)
    replaced = threading.Event()

    def replace() -> None:
        if not replaced.is_set():
            replaced.set()
            transfer.put_file(storage, newer, where, patience_s=LOCAL_S)

    transfer.get_file(storage, where, tmp_path / "back", patience_s=LOCAL_S, on_retry=lambda error, wait_s: replace())
    assert rule.hits == 1
    assert (tmp_path / "back").read_bytes() == newer.read_bytes()


def test_damage_on_the_way_is_found_by_the_stores_own_sum(
    proxy: FaultProxy, stored: tuple[Storage, str, dict[str, Any]], tmp_path: Path
) -> None:
    storage, where, about = stored
    with pytest.raises(StorageError, match="came with crc32c"):
        transfer.get_file(
            storage, where, tmp_path / "back", expected={**about, "crc32c": "00000000"}, patience_s=LOCAL_S
        )
    assert list(tmp_path.iterdir()) == []


def test_what_is_larger_goes_up_in_chunks(
    proxy: FaultProxy, store: tuple[Storage, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, where = store
    monkeypatch.setattr(transfer, "WHOLE_BYTES", 16 * MIB)
    file = tmp_path / "large"
    file.write_bytes(os.urandom(SIZE))
    about = transfer.put_file(storage, file, where, patience_s=LOCAL_S)
    assert sent(proxy, "POST", "uploadType=media") == 0
    assert about == {"size": SIZE, **checksum.of_file(file)}
    assert storage.read(where) == file.read_bytes()


@pytest.fixture
def directory(proxy: FaultProxy, store: tuple[Storage, str]) -> tuple[Storage, str]:
    storage, where = store
    for name in NAMES:
        storage.write(f"{where}/{name}", name.encode())
    storage.write(f"{where}-other/x", b"x")
    return storage, where


def listed(storage: Storage, where: str) -> dict[str, int]:
    return {entry.name: entry.size for entry in storage.files(where)}


def test_a_listing_goes_on_page_by_page(
    proxy: FaultProxy, directory: tuple[Storage, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, where = directory
    monkeypatch.setattr("paceline.storage._gcs_objects._PAGE", 1)
    assert listed(storage, where) == NAMES
    assert sent(proxy, "GET", "pageToken=") >= len(NAMES) - 1


@pytest.mark.parametrize(
    "fault",
    [BUSY, Reset(), CutAnswer(0.5), LoseAnswer("close"), Answer(200, "{}"), Answer(200, "<html>")],
    ids=["503", "reset", "cut", "lost answer", "no listing", "no JSON"],
)
def test_a_listing_outlives_what_passes(proxy: FaultProxy, directory: tuple[Storage, str], fault: Fault) -> None:
    storage, where = directory
    rule = proxy.fail(fault, method="GET", path="fields=", times=1)
    assert listed(storage, where) == NAMES
    assert rule.hits == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (DENIED, "robot has no .*roles/storage.objectAdmin"),
        (BUSY, "Backend Error"),
        (Answer(200, "{}"), "no listing"),
        (Answer(401, '{"error": "Invalid Credentials"}'), "GOOGLE_APPLICATION_CREDENTIALS"),
    ],
    ids=["no permission", "busy for ever", "no listing", "no login"],
)
def test_a_listing_that_fails_is_an_error_and_no_empty_directory(
    proxy: FaultProxy, directory: tuple[Storage, str], monkeypatch: pytest.MonkeyPatch, fault: Fault, said: str
) -> None:
    storage, where = directory
    monkeypatch.setattr("paceline.storage._gcs_objects._PATIENCE_S", 0.5)
    proxy.fail(fault, method="GET", path="fields=", times=100)
    with pytest.raises(StorageError, match=said) as caught:
        listed(storage, where)
    assert f"cannot list gs://{where}" in str(caught.value)


def test_a_bucket_that_is_not_there_holds_nothing(proxy: FaultProxy) -> None:
    storage, where = resolve(f"gs://nowhere/run?anonymous=true&endpoint_override={proxy.endpoint}")
    assert listed(storage, where) == {}
    assert sent(proxy, "GET", "/b/nowhere/o?") == 1
