"""A dataset in a bucket, read by training processes in an image that has no client of S3 of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.cluster import Bed
from e2e.cluster.images import TORCH_IMAGE
from e2e.jobs import SECRET, Workspace, load_example, script_maps
from e2e.stack import Stack
from paceline.storage import join

pytestmark = pytest.mark.cluster
NAME = "parquet-datasets"
EPOCHS = 3
BETTER_THAN_CHANCE = 0.8  # ten classes: chance is 0.1
RUN_S = 240


@pytest.fixture(scope="module")
def space(stack: Stack, real_nodes: Bed) -> Iterator[Workspace]:
    made = Workspace.create(stack, real_nodes.s3, f"datasets-{uuid.uuid4().hex[:6]}")
    yield made
    made.delete()


def run(space: Workspace, name: str, *command: str, **workers: Any) -> dict[str, Any]:
    """Run a script of the example to the job's end."""
    job = load_example(NAME)
    job["metadata"]["name"] = name
    spec = job["spec"]
    spec |= {"image": TORCH_IMAGE, "command": ["python", *command], "args": []}
    spec["workers"] = {"resources": {"memory": "1Gi"}, **workers}
    spec["storage"] = {"path": space.storage_path, "secretRef": {"name": SECRET}}
    spec["failurePolicy"] = {"maxRestarts": 0}
    space.submit(*script_maps(NAME), job)
    return space.wait_phase(name, "Succeeded", "Failed", timeout_s=RUN_S)


def test_two_pods_train_on_parquet_files_in_the_bucket(space: Workspace) -> None:
    data = join(space.storage_path, "digits")
    written = run(space, "prepare", "/app/prepare.py", data, count=1)
    assert written["phase"] == "Succeeded", space.tell("prepare")
    status = run(space, NAME, "/app/train.py", data, "--epochs", str(EPOCHS), count=2, placement="Spread")
    assert (status["phase"], status["restarts"]) == ("Succeeded", 0), space.tell(NAME)
    assert len({pod["spec"]["nodeName"] for pod in space.pods(NAME)}) == 2
    metrics = status["result"]["metrics"]
    assert metrics["epoch"] == EPOCHS
    assert metrics["accuracy"] > BETTER_THAN_CHANCE
