"""One cluster of three real nodes with the operator on it, shared by the end-to-end tests."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from e2e import stack as stacks
from e2e.cluster import Bed, bed, hadoop
from e2e.cluster.gcs import GcsServer
from e2e.cluster.hdfs import HdfsServer
from e2e.jobs import Workspace
from e2e.stack import Stack


@pytest.fixture(scope="session")
def real_nodes() -> Iterator[Bed]:
    """Return a cluster of three real nodes, four GPUs each."""
    name = os.environ.get("PACELINE_TEST_BED", "e2e")
    stores = {"s3": True, "gcs": True, "hdfs": not hadoop.missing()}
    keep = bool(os.environ.get("PACELINE_KEEP_BED"))
    with bed(name=name, nodes=3, gpus_per_node=4, **stores, keep=keep) as b:
        yield b


@pytest.fixture(scope="session")
def stack(real_nodes: Bed) -> Stack:
    """Return the cluster with the operator installed by Helm."""
    installed = stacks.on_bed(real_nodes)
    installed.install()
    return installed


@pytest.fixture(scope="session")
def gcs(real_nodes: Bed) -> GcsServer:
    """Return a server of Google's storage API that pods reach."""
    return real_nodes.gcs


@pytest.fixture(scope="session")
def hdfs(real_nodes: Bed) -> HdfsServer | None:
    """Return an HDFS that pods reach; None where this machine has no Java."""
    return None if hadoop.missing() else real_nodes.hdfs


@pytest.fixture
def space(real_nodes: Bed, stack: Stack) -> Iterator[Workspace]:
    """Return a namespace of the test's own, with a bucket and its Secret; deleted afterwards."""
    made = Workspace.create(stack, real_nodes.s3, f"t-{uuid.uuid4().hex[:8]}")
    yield made
    made.delete()
