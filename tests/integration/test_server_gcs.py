"""What the tests of Google Cloud Storage rely on: the server they run against really enforces it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import requests

from e2e.cluster.gcs import GcsServer
from tests.support.faultproxy import FaultProxy, gcs_error
from tests.support.timeouts import LOCAL_S

RACERS = 16


@pytest.fixture
def bucket(gcs_server: GcsServer) -> str:
    return gcs_server.make_bucket("server-checks")


@pytest.fixture
def client(gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in gcs_server.environment.items():
        monkeypatch.setenv(name, value)
    storage = pytest.importorskip("google.cloud.storage")
    from google.auth.credentials import AnonymousCredentials

    client = storage.Client(project=gcs_server.project, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    yield client
    client.close()


def filesystem(server: GcsServer) -> Any:
    import gcsfs

    return gcsfs.GCSFileSystem(token="anon", endpoint_url=server.endpoint, skip_instance_cache=True)


def test_of_sixteen_writers_with_generation_match_zero_one_wins(client: Any, bucket: str) -> None:
    from google.api_core.exceptions import PreconditionFailed

    start = Barrier(RACERS)

    def write(number: int) -> bool:
        start.wait()
        blob = client.bucket(bucket.removeprefix("gs://")).blob("race/commit")
        try:
            blob.upload_from_string(f"{number}", if_generation_match=0)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(RACERS) as threads:
        won = list(threads.map(write, range(RACERS)))
    assert won.count(True) == 1
    stored = client.bucket(bucket.removeprefix("gs://")).blob("race/commit").download_as_text()
    assert stored == str(won.index(True))


def test_content_that_differs_from_its_declared_checksum_is_refused(gcs_server: GcsServer, bucket: str) -> None:
    name = bucket.removeprefix("gs://")
    parts = [
        '--part\r\nContent-Type: application/json\r\n\r\n{"name": "damaged", "crc32c": "AAAAAA=="}\r\n',
        "--part\r\nContent-Type: text/plain\r\n\r\ncontent\r\n--part--\r\n",
    ]
    refused = requests.post(
        f"{gcs_server.endpoint}/upload/storage/v1/b/{name}/o?uploadType=multipart",
        data="".join(parts),
        headers={"Content-Type": "multipart/related; boundary=part"},
        timeout=LOCAL_S,
    )
    assert refused.status_code == 400
    assert "CRC32C" in refused.text
    assert requests.get(f"{gcs_server.endpoint}/storage/v1/b/{name}/o/damaged", timeout=LOCAL_S).status_code == 404


def test_a_bucket_that_does_not_exist_takes_nothing(gcs_server: GcsServer) -> None:
    with pytest.raises(FileNotFoundError):
        filesystem(gcs_server).pipe_file("no-such-bucket/object", b"x")


def test_objects_survive_a_crash_of_the_server(gcs_server: GcsServer, bucket: str) -> None:
    name = f"{bucket.removeprefix('gs://')}/kept/deep/object"
    before = filesystem(gcs_server)
    before.pipe_file(name, b"content")
    generation = before.info(name)["generation"]
    gcs_server.restart()
    after = filesystem(gcs_server)
    assert after.cat_file(name) == b"content"
    assert after.info(name)["generation"] == generation
    assert after.find(f"{bucket}/kept") == [name]


def test_a_killed_server_answers_nobody_until_it_is_started(tmp_path: Path) -> None:
    with GcsServer.start_local(tmp_path) as server:
        server.kill()
        assert not server.answers()
        server.start()
        assert server.answers()


def test_a_file_of_several_parts_arrives_whole(gcs_server: GcsServer, bucket: str) -> None:
    content = os.urandom(12 * 2**20)
    files = filesystem(gcs_server)
    with files.open(f"{bucket}/parts", "wb", block_size=5 * 2**20) as file:
        file.write(content)
    assert files.cat_file(f"{bucket}/parts") == content


def test_pyarrow_reads_what_gcsfs_wrote(gcs_server: GcsServer, bucket: str) -> None:
    from pyarrow import fs

    filesystem(gcs_server).pipe_file(f"{bucket}/arrow/object", b"content")
    authority = gcs_server.endpoint.removeprefix("http://")
    arrow = fs.GcsFileSystem(anonymous=True, scheme="http", endpoint_override=authority)
    with arrow.open_input_stream(f"{bucket.removeprefix('gs://')}/arrow/object") as stream:
        assert stream.read() == b"content"


def test_parts_of_an_upload_pass_through_a_fault_proxy_too(
    gcs_server: GcsServer, bucket: str, fault_proxy: Callable[..., FaultProxy]
) -> None:
    proxy = fault_proxy(gcs_server.endpoint)
    refused = proxy.fail(gcs_error(503, "backendError"), path="upload_id=", skip=1)
    import gcsfs

    files = gcsfs.GCSFileSystem(token="anon", endpoint_url=proxy.endpoint, skip_instance_cache=True)
    with files.open(f"{bucket}/through", "wb", block_size=2**20) as file:
        file.write(b"x" * (3 * 2**20))
    assert filesystem(gcs_server).size(f"{bucket}/through") == 3 * 2**20
    assert refused.hits == 1
    assert len(proxy.wait_for(path="upload_id=", count=3)) == 3
