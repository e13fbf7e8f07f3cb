"""One cluster of three real nodes with the operator on it, shared by the end-to-end tests."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from e2e import stack as stacks
from e2e.cluster import Bed, bed, build, hadoop
from e2e.cluster.components import FAKE_GCS
from e2e.cluster.gcs import PORT, GcsServer
from e2e.cluster.hdfs import HdfsServer, Ports
from e2e.jobs import Workspace
from e2e.stack import Stack


@pytest.fixture(scope="session")
def real_nodes() -> Iterator[Bed]:
    """Return a cluster of three real nodes, four GPUs each."""
    name = os.environ.get("PACELINE_TEST_BED", "e2e")
    with bed(name=name, nodes=3, gpus_per_node=4, s3=True, keep=bool(os.environ.get("PACELINE_KEEP_BED"))) as b:
        yield b


@pytest.fixture(scope="session")
def stack(real_nodes: Bed) -> Stack:
    """Return the cluster with the operator installed by Helm."""
    installed = stacks.on_bed(real_nodes)
    installed.install()
    return installed


@pytest.fixture(scope="session")
def gcs(real_nodes: Bed) -> Iterator[GcsServer]:
    """Return a server of Google's storage API that pods reach."""
    server = GcsServer(real_nodes.process("gcs"), real_nodes.folder / "gcs", real_nodes.addresses.services, PORT)
    build.ensure(FAKE_GCS)
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def hdfs(real_nodes: Bed) -> Iterator[HdfsServer | None]:
    """Return an HDFS that pods reach; None where this machine has no Java."""
    if hadoop.missing():
        yield None
        return
    server = HdfsServer(real_nodes.process("hdfs"), real_nodes.folder / "hdfs", real_nodes.addresses.services, Ports())
    hadoop.ensure()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def space(real_nodes: Bed, stack: Stack) -> Iterator[Workspace]:
    """Return a namespace of the test's own, with a bucket and its Secret; deleted afterwards."""
    made = Workspace.create(stack, real_nodes.s3, f"t-{uuid.uuid4().hex[:8]}")
    yield made
    made.delete()
