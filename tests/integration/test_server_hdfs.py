"""What the tests of HDFS rely on: the server they run against really enforces it."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import requests

from e2e.cluster.hdfs import HdfsServer
from tests.support.faultproxy import CutRequest, FaultProxy, webhdfs_error

RACERS = 16
# One answer of a JVM that compiles as it goes, beside everything else on two cores.
HDFS_S = 60.0


def create(server: str, path: str, content: bytes, *, user: str = "trainer") -> requests.Response:
    query = f"op=CREATE&overwrite=false&user.name={user}"
    first = requests.put(f"{server}/webhdfs/v1{path}?{query}", allow_redirects=False, timeout=HDFS_S)
    if first.status_code != 307:
        return first
    return requests.put(first.headers["Location"], data=content, timeout=HDFS_S)


def read(server: HdfsServer, path: str) -> bytes:
    found = requests.get(f"{server.endpoint}/webhdfs/v1{path}?op=OPEN&user.name=trainer", timeout=HDFS_S)
    found.raise_for_status()
    return found.content


def native(server: HdfsServer) -> Any:
    return pytest.importorskip("hdfs_native").Client(server.hdfs_uri)


@pytest.fixture(autouse=True)
def _user(hdfs_server: HdfsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in hdfs_server.environment.items():
        monkeypatch.setenv(name, value)


def test_of_sixteen_webhdfs_writers_without_overwrite_one_wins(hdfs_server: HdfsServer) -> None:
    start = Barrier(RACERS)
    directory = hdfs_server.make_directory("race-web")

    def write(number: int) -> int:
        start.wait()
        return create(hdfs_server.endpoint, f"{directory}/commit", f"{number}".encode()).status_code

    with ThreadPoolExecutor(RACERS) as threads:
        answers = list(threads.map(write, range(RACERS)))
    assert answers.count(201) == 1
    assert set(answers) == {201, 403}
    assert read(hdfs_server, f"{directory}/commit") == str(answers.index(201)).encode()


def test_of_sixteen_native_writers_without_overwrite_one_wins(hdfs_server: HdfsServer) -> None:
    start = Barrier(RACERS)
    directory = hdfs_server.make_directory("race-native")

    def write(number: int) -> bool:
        client = native(hdfs_server)
        start.wait()
        try:
            with client.create(f"{directory}/commit") as file:
                file.write(f"{number}".encode())
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(RACERS) as threads:
        won = list(threads.map(write, range(RACERS)))
    assert won.count(True) == 1
    assert read(hdfs_server, f"{directory}/commit") == str(won.index(True)).encode()


def test_a_directory_of_another_user_takes_nothing(hdfs_server: HdfsServer) -> None:
    directory = hdfs_server.make_directory("private", owner="somebody")
    refused = create(hdfs_server.endpoint, f"{directory}/file", b"x")
    assert refused.status_code == 403
    assert refused.json()["RemoteException"]["exception"] == "AccessControlException"
    assert create(hdfs_server.endpoint, f"{directory}/file", b"x", user="somebody").status_code == 201


def test_files_survive_a_crash_of_the_server(hdfs_server: HdfsServer) -> None:
    directory = hdfs_server.make_directory("kept")
    content = os.urandom(3 * 2**20)
    with native(hdfs_server).create(f"{directory}/file") as file:
        file.write(content)
    hdfs_server.restart()
    assert read(hdfs_server, f"{directory}/file") == content
    assert create(hdfs_server.endpoint, f"{directory}/file", b"x").status_code == 403
    assert create(hdfs_server.endpoint, f"{directory}/second", b"x").status_code == 201


def test_faults_reach_name_node_and_data_node(hdfs_server: HdfsServer, fault_proxy: Callable[..., FaultProxy]) -> None:
    directory = hdfs_server.make_directory("faults")
    data = fault_proxy(hdfs_server.data_endpoint)
    theirs = hdfs_server.data_endpoint.removeprefix("http://")
    name = fault_proxy(hdfs_server.endpoint, redirects={theirs: data.authority})
    name.fail(webhdfs_error(403, "StandbyException"), path="op=CREATE")
    data.fail(CutRequest(0.5), method="PUT")
    assert create(name.endpoint, f"{directory}/file", b"x").json()["RemoteException"]["exception"] == "StandbyException"
    with pytest.raises(requests.ConnectionError):
        create(name.endpoint, f"{directory}/cut", b"x" * 2**20)
    assert create(name.endpoint, f"{directory}/file", b"whole").status_code == 201
    assert read(hdfs_server, f"{directory}/file") == b"whole"
    assert [r.fault for r in data.requests] == ["CutRequest", ""]
