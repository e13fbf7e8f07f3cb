"""Real servers for the integration tests; the heavy ones end with the last test that needs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import Bed, bed, hadoop
from e2e.cluster.gcs import GcsServer
from e2e.cluster.hdfs import HdfsServer
from e2e.cluster.s3 import S3Server
from tests.support import servers
from tests.support.crdserver import crd_server
from tests.support.faultproxy import FaultProxy
from tests.support.full_disk import CannotMountError, SmallDisk, mounted

# gcsfs reads this when it is imported, and waits a minute for each bucket of an emulator without it.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"

__all__ = ["api_server", "crd_server", "fault_proxy", "gcs_server", "hdfs_server", "s3_server", "small_disk"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that share a heavy server follow one another."""
    servers.group(items, below=Path(__file__).parent)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the heavy server that the next test does not need, after the fixtures of this one."""
    servers.end_unused(nextitem)


@pytest.fixture(scope="session")
def api_server() -> Bed:
    """Return a real API server (etcd, apiserver, controller-manager, scheduler), without nodes; one a process."""
    name = "-".join(["integration", *filter(None, [os.environ.get("PYTEST_XDIST_WORKER")])])
    keep = bool(os.environ.get("PACELINE_KEEP_BED"))
    return servers.hold("api_server", bed(name=name, nodes=0, s3=False, keep=keep))


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Return a real S3 server on loopback that enforces its keys."""
    directory: Path = tmp_path_factory.mktemp("s3")
    server = S3Server.start_local(directory)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    """Return a real server of Google's storage API on loopback. A test that stops it starts it again."""
    server = GcsServer.start_local(tmp_path_factory.mktemp("gcs"))
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def hdfs_server(tmp_path_factory: pytest.TempPathFactory) -> HdfsServer:
    """Return a real HDFS on loopback; without Java its tests are skipped. A test that stops it starts it again."""
    if sentence := hadoop.missing():
        pytest.skip(sentence)
    return servers.hold("hdfs_server", _hdfs(tmp_path_factory.mktemp("hdfs")))


@contextmanager
def _hdfs(directory: Path) -> Iterator[HdfsServer]:
    server = HdfsServer.start_local(directory)
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
def fault_proxy() -> Iterator[Callable[..., FaultProxy]]:
    """Return a maker of proxies in front of a server: `fault_proxy(s3_server.endpoint).fail(Reset(), method="PUT")`."""
    with ExitStack() as stack:

        def make(target: str, **options: Any) -> FaultProxy:
            return stack.enter_context(FaultProxy(target, **options))

        yield make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], SmallDisk]]:
    """Return a maker of small disks: `small_disk(16).path` is a folder with 16 MiB. Skips where none can be mounted."""
    with ExitStack() as stack:
        count = iter(range(1000))

        def make(size_mib: int) -> SmallDisk:
            try:
                return stack.enter_context(mounted(tmp_path / f"disk-{next(count)}", size_mib))
            except CannotMountError as error:
                pytest.skip(str(error))

        yield make
