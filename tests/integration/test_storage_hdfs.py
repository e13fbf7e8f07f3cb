"""HDFS by both of its protocols: users, permissions, a server that is not there."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from e2e.cluster.hdfs import HdfsServer
from paceline.data import open_sources
from paceline.storage import StorageError, join, resolve
from tests.support import timeouts

BOTH = pytest.mark.parametrize("scheme", ["hdfs", "webhdfs"])


@pytest.fixture(autouse=True)
def _no_user_of_hdfs(monkeypatch: pytest.MonkeyPatch) -> None:
    # A URI with ?user= sets it for the process; this puts it back.
    monkeypatch.setenv("HADOOP_USER_NAME", "")
    monkeypatch.delenv("HADOOP_USER_NAME")


def base(server: HdfsServer, scheme: str) -> str:
    return server.hdfs_uri if scheme == "hdfs" else server.webhdfs_uri


@BOTH
def test_the_user_of_the_uri_owns_what_is_written(hdfs_server: HdfsServer, scheme: str) -> None:
    directory = hdfs_server.make_directory(uuid.uuid4().hex)
    storage, path = resolve(f"{base(hdfs_server, scheme)}{directory}/runs?user={hdfs_server.user}")
    storage.check(path)
    assert storage.uri(path).endswith(f"{directory}/runs?user={hdfs_server.user}")


@BOTH
def test_a_dataset_is_read_from_it(hdfs_server: HdfsServer, scheme: str, tmp_path: Path) -> None:
    directory = hdfs_server.make_directory(uuid.uuid4().hex)
    uri = f"{base(hdfs_server, scheme)}{directory}/train?user={hdfs_server.user}"
    parquet.write_table(pa.table({"id": range(100)}), tmp_path / "a.parquet", row_group_size=10)
    for name in ("0.parquet", "1.parquet"):
        storage, path = resolve(join(uri, name))
        storage.put_file(str(tmp_path / "a.parquet"), path)
    shard = open_sources({"train": join(uri, "*.parquet")})["train"].open(1, 4)
    assert [int(i) for batch in shard.iter_batches(batch_size=32) for i in batch["id"]] == list(range(50, 100))


@BOTH
def test_a_directory_of_somebody_else_is_refused_with_the_way_out(hdfs_server: HdfsServer, scheme: str) -> None:
    directory = hdfs_server.make_directory(uuid.uuid4().hex, owner="somebody")
    storage, path = resolve(f"{base(hdfs_server, scheme)}{directory}/runs?user={hdfs_server.user}")
    with pytest.raises(StorageError, match=r"Permission denied.*\?user=<name>") as caught:
        storage.check(path)
    assert not caught.value.retryable
    assert "at org.apache" not in str(caught.value)


@BOTH
@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:9000"])
def test_an_address_that_does_not_answer_may_be_tried_again(scheme: str, address: str) -> None:
    storage, path = resolve(f"{scheme}://{address}/runs")
    with pytest.raises(StorageError, match="check host and port of the name node") as caught:
        storage.check(path)
    assert caught.value.retryable


def test_one_process_is_one_user_to_hdfs(hdfs_server: HdfsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADOOP_USER_NAME", "somebody")
    storage, path = resolve(f"{hdfs_server.hdfs_uri}/x?user={hdfs_server.user}")
    with pytest.raises(StorageError, match="'somebody' \\(HADOOP_USER_NAME\\)"):
        storage.check(path)


FORKING = """
import gc, multiprocessing, sys
from paceline.storage import StorageError, resolve
from paceline.storage._arrow_filesystem import to_arrow

storage, path = resolve(sys.argv[1])
assert storage.size(path) is None
opened = to_arrow(storage, path)[0]  # lies in the cache of fsspec, which every forked child empties

def child():
    global storage, opened
    try:
        storage.size(path)
    except StorageError as e:
        answers.put(str(e))
    storage = opened = None
    gc.collect()  # frees the parent's clients

context = multiprocessing.get_context("fork")
answers = context.SimpleQueue()
process = context.Process(target=child)
process.start()
process.join(float(sys.argv[2]))
assert process.exitcode == 0, process.exitcode
assert "by spawn" in answers.get()
assert storage.size(path) is None
"""


def test_a_forked_child_is_told_instead_of_hanging(hdfs_server: HdfsServer) -> None:
    # In a process of its own: this one has the threads of every other client by now.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    uri = f"{hdfs_server.hdfs_uri}/x?user={hdfs_server.user}"
    command = [sys.executable, "-c", FORKING, uri, str(timeouts.LOCAL_S)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeouts.STORE_S)
    assert done.returncode == 0, done.stderr


@BOTH
def test_a_name_node_that_dies_is_told_and_found_again(
    tmp_path_factory: pytest.TempPathFactory, scheme: str, hdfs_server: HdfsServer
) -> None:
    directory = hdfs_server.make_directory(uuid.uuid4().hex)
    storage, path = resolve(f"{base(hdfs_server, scheme)}{directory}?user={hdfs_server.user}")
    storage.write(f"{path}/kept", b"1")
    hdfs_server.kill()
    try:
        with pytest.raises(StorageError) as caught:
            storage.read(f"{path}/kept")
        assert caught.value.retryable
    finally:
        hdfs_server.start()
    assert storage.read(f"{path}/kept") == b"1"
    storage.write(f"{path}/more", b"2")
