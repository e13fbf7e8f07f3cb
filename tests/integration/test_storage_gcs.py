"""Google Cloud Storage on a server that knows buckets and generations (but checks no credentials)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster.gcs import GcsServer
from paceline.storage import Entry, StorageError, resolve, retry, to_arrow
from paceline.storage._gcs import GcsStorage, GcsTree
from tests.support import timeouts

QUICK_S = 20.0  # three tries of gcsfs with its waits, on busy cores


def uri(server: GcsServer, bucket: str, more: str = "") -> str:
    return f"gs://{bucket}/runs?endpoint_override={server.endpoint}&anonymous=true{more}"


def test_no_such_bucket_is_told_with_the_way_out(gcs_server: GcsServer) -> None:
    storage, path = resolve(uri(gcs_server, "no-such-bucket"))
    with pytest.raises(StorageError, match=r"create the bucket.*allow_bucket_creation=true") as caught:
        storage.check(path)
    assert not caught.value.retryable
    assert "no-such-bucket/runs" in str(caught.value)


def test_a_bucket_is_created_when_the_uri_allows_it(gcs_server: GcsServer) -> None:
    bucket = f"made-{uuid.uuid4().hex[:8]}"
    for _ in range(2):
        storage, path = resolve(uri(gcs_server, bucket, f"&allow_bucket_creation=true&project={gcs_server.project}"))
        storage.check(path)
    again, same = resolve(storage.uri(path))
    assert again.create_if_absent(f"{same}/one", b"1")


def test_without_credentials_nothing_is_sent(
    gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    storage, path = resolve(f"gs://some/runs?endpoint_override={gcs_server.endpoint}")
    with pytest.raises(StorageError, match=r"set GOOGLE_APPLICATION_CREDENTIALS.*anonymous=true") as caught:
        storage.check(path)
    assert not caught.value.retryable


def test_a_key_file_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    key = tmp_path_factory.mktemp("keys") / "key.json"
    key.write_text("{}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    storage, path = resolve("gs://some/runs")
    with pytest.raises(StorageError, match=r"key\.json.*set GOOGLE_APPLICATION_CREDENTIALS") as caught:
        storage.check(path)
    assert not caught.value.retryable


def test_an_address_that_does_not_answer_is_told_soon() -> None:
    storage, path = resolve("gs://some/runs?endpoint_override=http://127.0.0.1:1&anonymous=true")
    begun = time.monotonic()
    with pytest.raises(StorageError, match="check endpoint_override") as caught:
        storage.check(path)
    assert caught.value.retryable
    assert time.monotonic() - begun < QUICK_S


def test_a_server_that_dies_is_found_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = GcsServer.start_local(tmp_path_factory.mktemp("own"))
    try:
        server.make_bucket("kept")
        storage, path = resolve(uri(server, "kept"))
        storage.write(f"{path}/one", b"1")
        server.kill()
        with pytest.raises(StorageError) as caught:
            storage.write(f"{path}/two", b"2")
        assert caught.value.retryable
        server.start()
        retry.call(lambda: storage.write(f"{path}/two", b"2"), patience_s=timeouts.LOCAL_S)
        assert (storage.read(f"{path}/one"), storage.read(f"{path}/two")) == (b"1", b"2")
    finally:
        server.stop()


def test_what_another_client_writes_is_seen_at_once(gcs_server: GcsServer) -> None:
    gcs_server.make_bucket("shared")
    (one, path), (other, _) = (resolve(uri(gcs_server, "shared")) for _ in range(2))
    directory = f"{path}/{uuid.uuid4().hex}"
    for i in range(3):
        one.write(f"{directory}/{i}", b"x")
        assert sorted(entry.name for entry in other.files(directory)) == [str(n) for n in range(i + 1)]
        assert other.size(f"{directory}/{i}") == 1
    other.delete(f"{directory}/0")
    assert one.size(f"{directory}/0") is None


@pytest.fixture
def memory_server(tmp_path: Path) -> Iterator[GcsServer]:
    """A server to which a slash at the end of a name is a letter, as to Google's own."""
    server = GcsServer.start_local(tmp_path / "gcs", backend="memory")
    try:
        yield server
    finally:
        server.remove()


@pytest.mark.parametrize("by_gcsfs", [False, True])
def test_what_a_console_leaves_for_a_folder_is_no_file(memory_server: GcsServer, by_gcsfs: bool) -> None:
    """The S3 storage leaves them out too."""
    memory_server.make_bucket("folders")
    storage, path = resolve(uri(memory_server, "folders"))
    run = f"{path}/{uuid.uuid4().hex[:8]}"
    assert isinstance(storage, GcsStorage)
    tree = storage.tree
    assert isinstance(tree, GcsTree)
    if by_gcsfs:
        tree.filesystem.session_kwargs = {"trust_env": True}  # a setting that gcsfs alone follows
    assert (storage.objects(run) is None) == by_gcsfs
    for marker in (f"{run}/", f"{run}/c/", f"{run}/empty/"):
        tree.put_bytes(marker, b"")
    storage.write(f"{run}/c/part", b"abc")
    assert list(storage.files(run)) == [Entry("c/part", 3)]
    assert "c" in storage.directories(run)


def test_the_arrow_filesystem_has_the_same_options(gcs_server: GcsServer) -> None:
    storage, path = resolve(uri(gcs_server, "any", "&project=p"))
    filesystem, inside = to_arrow(storage, path)
    assert (filesystem.type_name, inside) == ("gcs", "any/runs")
