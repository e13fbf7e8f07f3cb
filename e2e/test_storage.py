"""The same example on a shared volume, and a script that knows nothing of Paceline."""

from __future__ import annotations

import pytest

from e2e.cluster import Bed
from e2e.cluster.images import TORCH_IMAGE
from e2e.jobs import Workspace, digits, load_example, script_maps

pytestmark = pytest.mark.cluster
RUN_S = 300


def test_checkpoints_and_results_land_on_a_shared_volume(space: Workspace, real_nodes: Bed) -> None:
    real_nodes.shared_volume("shared", space.namespace)
    objects = digits(space, manifest="trainjob-pvc.yaml", args=["--epochs", "3"])
    objects[-1]["spec"]["storage"]["volume"]["claimName"] = "shared"
    space.submit(*objects)
    status = space.wait_phase("digits", "Succeeded", timeout_s=RUN_S)
    assert status["checkpoint"]["path"].startswith("/")
    assert "accuracy" in status["result"]["metrics"]
    nodes = {pod["spec"]["nodeName"] for pod in space.pods("digits")}
    assert len(nodes) == 2


def test_a_plain_script_runs_unchanged(space: Workspace) -> None:
    job = load_example("plain-torchrun-script")
    script = "".join(script_maps("plain-torchrun-script")[0]["data"].values())
    assert "import paceline" not in script
    assert "from paceline" not in script
    assert "PACELINE" not in script
    job["spec"]["image"] = TORCH_IMAGE
    space.submit(*script_maps("plain-torchrun-script"), job)
    status = space.wait_phase(job["metadata"]["name"], "Succeeded", timeout_s=RUN_S)
    assert status["restarts"] == 0
