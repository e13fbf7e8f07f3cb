"""One cluster of three real nodes with the operator on it, shared by the end-to-end tests.

Tests marked `disturbs` kill parts of the cluster or replace the operator. They come last, or run beside the others on a
cluster of their own (`make e2e-jobs`, `make e2e-disturbing`).
"""

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put last what disturbs, and of that the tests of the bed itself: they kill nodes and leave one more."""
    items.sort(key=lambda item: (item.get_closest_marker("disturbs") is not None, item.path.name == "test_bed.py"))


@pytest.fixture(scope="session")
def wanted(request: pytest.FixtureRequest) -> frozenset[str]:
    """Return the names of all fixtures that some test asks for: what none asks for is not started."""
    return frozenset(name for item in request.session.items for name in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def real_nodes(wanted: frozenset[str]) -> Iterator[Bed]:
    """Return a cluster of three real nodes, four GPUs each."""
    name = os.environ.get("PACELINE_TEST_BED", "e2e")
    stores = {"s3": True, "gcs": "gcs" in wanted, "hdfs": "hdfs" in wanted and not hadoop.missing()}
    keep = bool(os.environ.get("PACELINE_KEEP_BED"))
    with bed(name=name, nodes=3, gpus_per_node=4, **stores, keep=keep) as b:
        yield b


@pytest.fixture(scope="session")
def stack(real_nodes: Bed, request: pytest.FixtureRequest) -> Stack:
    """Return the cluster with the operator installed by Helm."""
    # The image with torch takes a minute of all cores to unpack on three nodes.
    disturbing = all(item.get_closest_marker("disturbs") for item in request.session.items)
    installed = stacks.on_bed(real_nodes, torch=not disturbing)
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
