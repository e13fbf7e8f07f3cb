"""`spec.agent.inject: false`: nothing is copied into the pod, the image's own installation does the work."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.cluster import Bed
from e2e.cluster.images import BUNDLED_IMAGE, bundled_image
from e2e.jobs import SECRET, Workspace

pytestmark = pytest.mark.cluster
# Seconds before and after the kill: the two pods do not start in the same moment, and nothing keeps them in step.
STEPS = 32
RUN_S = 180  # seconds of work; on busy cores two Python starts for each of four pods come on top

# Rank 1 kills itself half way, as an out-of-memory kill would.
SCRIPT = """
import json, os, pathlib, signal, sys, tempfile, time
import paceline
from paceline import train

context, steps = train.get_context(), int(sys.argv[1])
checkpoint = train.get_checkpoint()
done = 0
if checkpoint is not None:
    with checkpoint.as_directory() as folder:
        done = json.loads(pathlib.Path(folder, "state.json").read_text())["step"]
    print("resumed after step", done)
print("paceline of", pathlib.Path(paceline.__file__).parent)
for step in range(done + 1, steps + 1):
    time.sleep(0.2)
    if context.get_world_rank() == 1 and checkpoint is None and step == steps // 2 + 1:
        os.kill(os.getpid(), signal.SIGKILL)
    with tempfile.TemporaryDirectory() as folder:
        given = None
        if context.get_world_rank() == 0:
            pathlib.Path(folder, "state.json").write_text(json.dumps({"step": step}))
            given = train.Checkpoint.from_directory(folder)
        train.report({"step": step, "resumed": done}, checkpoint=given)
"""


@pytest.fixture(scope="module", autouse=True)
def image(real_nodes: Bed) -> None:
    """Have the image on the nodes."""
    real_nodes.load_image(bundled_image())


def job(space: Workspace) -> dict[str, Any]:
    return {
        "apiVersion": "paceline.dev/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": "bundled"},
        "spec": {
            "framework": "none",
            "image": BUNDLED_IMAGE,
            "command": ["python3", "-c", SCRIPT],
            "args": [str(STEPS)],
            "agent": {"inject": False},
            "workers": {"count": 2, "placement": "Spread", "resources": {"memory": "256Mi"}},
            "storage": {"path": space.storage_path, "secretRef": {"name": SECRET}},
        },
    }


def test_an_image_with_its_own_agent_trains_and_resumes_after_a_kill(space: Workspace) -> None:
    space.submit(job(space))
    status = space.wait_phase("bundled", "Succeeded", timeout_s=RUN_S)

    assert (status["restarts"], status["attempt"]) == (1, 1)
    (entry,) = status["history"]
    assert (entry["cause"], entry["rank"], entry["exitCode"]) == ("WorkerFailed", 1, 137)
    assert status["result"]["metrics"]["step"] == STEPS
    resumed = status["result"]["metrics"]["resumed"]
    assert resumed >= 1, "the second attempt began from nothing"
    assert entry["resumedFrom"] == resumed - 1, "checkpoints are numbered from 0, one for each step"

    pods = space.pods("bundled", attempt=1)
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
    for pod in pods:
        assert "initContainers" not in pod["spec"]
        log = space.kube.kubectl("logs", pod["metadata"]["name"], "-n", space.namespace)
        assert "paceline of /paceline/core" not in log
        assert f"resumed after step {resumed}" in log
    seen = {json.loads(line)["step"] for line in space.read_object("runs/bundled/result.json").splitlines()}
    assert seen == set(range(1, STEPS + 1)), "no step is missing from the story"
    commits = [key for key in space.objects_on_storage() if key.endswith("/.paceline.json")]
    assert commits
