"""Filesystem objects of pyarrow and fsspec on real servers: their errors, and stores of fsspec without our own code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import fsspec
import pytest
from pyarrow import fs

from e2e.cluster.hdfs import HdfsServer
from e2e.cluster.s3 import S3Server
from paceline.storage import StorageError, resolve, to_arrow


def arrow_s3(server: S3Server, **given: str) -> fs.S3FileSystem:
    keys = {
        "access_key": server.environment["AWS_ACCESS_KEY_ID"],
        "secret_key": server.environment["AWS_SECRET_ACCESS_KEY"],
    }
    address = server.endpoint.removeprefix("http://")
    return fs.S3FileSystem(endpoint_override=address, scheme="http", region="us-east-1", **keys | given)


@pytest.mark.parametrize(
    ("bucket", "given", "said"),
    [
        pytest.param("objects", {"secret_key": "wrong"}, "right keys|allow these credentials", id="secret"),
        pytest.param("objects", {"access_key": "nobody"}, "right keys|allow these credentials", id="key"),
        pytest.param("no-such-bucket", {}, "create it, or correct the storage path", id="bucket"),
    ],
)
def test_what_no_retry_mends_is_told_at_the_check(
    s3_server: S3Server, bucket: str, given: dict[str, str], said: str
) -> None:
    s3_server.make_bucket("objects")
    storage, path = resolve(f"{bucket}/x", arrow_s3(s3_server, **given))
    with pytest.raises(StorageError, match=said) as caught:
        storage.check(path)
    assert not caught.value.retryable
    assert "wrong" not in str(caught.value)


def test_a_server_that_is_away_may_come_back(s3_server: S3Server) -> None:
    gone = fs.S3FileSystem(
        endpoint_override="127.0.0.1:1", scheme="http", region="us-east-1", access_key="a", secret_key="b",
        connect_timeout=1, retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
    )  # fmt: skip
    storage, path = resolve("bucket/x", gone)
    with pytest.raises(StorageError) as caught:
        storage.check(path)
    assert caught.value.retryable


def test_the_whole_upload_of_a_killed_server_is_an_error_or_there(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with S3Server.start_local(tmp_path_factory.mktemp("own")) as server:
        server.make_bucket("objects")
        storage, path = resolve("objects/x", arrow_s3(server))
        storage.check(path)
        source = tmp_path / "source"
        source.write_bytes(os.urandom(1024 * 1024))
        server.kill()
        with pytest.raises(StorageError) as caught:
            storage.put_file(str(source), f"{path}/file")
        assert caught.value.retryable
        server.restart()
        assert storage.size(f"{path}/file") is None


def test_an_object_survives_pickle_as_a_local_run_sends_it(s3_server: S3Server) -> None:
    s3_server.make_bucket("objects")
    sent = pickle.loads(pickle.dumps(arrow_s3(s3_server)))
    storage, path = resolve("objects/pickled", sent)
    storage.check(path)
    storage.write(f"{path}/file", b"1")
    filesystem, inside = to_arrow(storage, path)
    assert filesystem.get_file_info(f"{inside}/file").size == 1


def test_the_objects_of_hdfs_are_used_with_its_promises(
    hdfs_server: HdfsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HADOOP_USER_NAME", hdfs_server.user)
    directory = hdfs_server.make_directory("objects")
    host, _, port = hdfs_server.hdfs_uri.removeprefix("hdfs://").partition(":")
    web_port = int(hdfs_server.webhdfs_uri.rpartition(":")[2])
    given = [
        fsspec.filesystem("hdfs", host=host, port=int(port)),
        fsspec.filesystem("webhdfs", host=host, port=web_port, user=hdfs_server.user),
    ]
    for i, filesystem in enumerate([*given, fs.PyFileSystem(fs.FSSpecHandler(given[1]))]):
        storage, path = resolve(f"{directory}/{i}", filesystem)
        assert storage.exclusive
        storage.check(path)
        storage.write(f"{path}/odd?name#1", b"1")
        assert [entry.name for entry in storage.files(path)] == ["odd?name#1"]
        assert resolve(storage.uri(path), filesystem)[1] == path


def test_a_protocol_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    storage, path = resolve("http://127.0.0.1:1/runs")
    with pytest.raises(StorageError, match=r"cannot (reach|write) http://127\.0\.0\.1"):
        storage.check(path)
