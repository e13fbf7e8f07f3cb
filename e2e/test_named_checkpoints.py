"""Checkpoints named by the user: status tells the latest and the best by path, and a job resumes from one."""

from __future__ import annotations

import json

import pytest

from e2e.cluster.gcs import GcsServer
from e2e.cluster.images import TORCH_IMAGE
from e2e.jobs import Object, Workspace
from e2e.stored import OnGcs

pytestmark = pytest.mark.cluster
RUN_S = 120
SCRIPT = """
import json, pathlib, tempfile
from paceline import train

first = 0
checkpoint = train.get_checkpoint()
if checkpoint:
    with checkpoint.as_directory() as folder:
        first = json.loads(pathlib.Path(folder, "state.json").read_text()) + 1
for epoch in range(first, first + 3):
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "state.json").write_text(str(epoch))
        saved = train.Checkpoint.from_directory(folder)
        metrics = {"epoch": epoch, "loss": [5, 1, 3][epoch % 3]}
        train.report(metrics, checkpoint=saved, checkpoint_dir_name=f"epoch={epoch}")
"""


def job(name: str, path: str, **checkpoints: str) -> Object:
    return {
        "apiVersion": "paceline.dev/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name},
        "spec": {
            "image": TORCH_IMAGE,
            "command": ["python3", "-c", SCRIPT],
            "storage": {"path": path},
            "checkpoints": {"scoreAttribute": "loss", "scoreOrder": "min", **checkpoints},
        },
    }


def test_status_tells_their_paths_and_another_job_resumes_from_one(space: Workspace, gcs: GcsServer) -> None:
    bucket = gcs.make_bucket(space.namespace)
    options = f"?endpoint_override={gcs.endpoint}&anonymous=true"
    space.submit(job("named", f"{bucket}/runs{options}"))
    status = space.wait_phase("named", "Succeeded", timeout_s=RUN_S)
    latest, best = status["checkpoint"], status["bestCheckpoint"]
    assert (latest["path"], latest["index"]) == (f"{bucket}/runs/named/epoch=2{options}", 2)
    assert (best["path"], best["index"]) == (f"{bucket}/runs/named/epoch=1{options}", 1)
    assert best["metrics"] == {"epoch": 1, "loss": 1}
    assert status["result"]["path"] == f"{bucket}/runs/named{options}"

    space.submit(job("onward", f"{bucket}/runs{options}", resumeFrom=latest["path"]))
    status = space.wait_phase("onward", "Succeeded", timeout_s=RUN_S)
    assert status["checkpoint"]["path"] == f"{bucket}/runs/onward/epoch=5{options}"
    stored = OnGcs(gcs.endpoint, space.namespace, "runs/onward/")
    commits = {name for name in stored.sizes() if name.endswith("/.paceline.json")}
    assert commits == {f"epoch={epoch}/.paceline.json" for epoch in (3, 4, 5)}
    assert json.loads(stored.read("epoch=4/.paceline.json"))["index"] == 1
