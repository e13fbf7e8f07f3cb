"""Experiment trackers on real nodes: one run over two attempts, TensorBoard's page, and what a missing key looks like.

Three jobs and the MLflow server of the example: they mostly wait for imports.
"""

from __future__ import annotations

import base64
import json
import signal
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.chaos.arena import Arena, kill
from e2e.cluster import Bed
from e2e.cluster.images import TRACKERS_IMAGE, trackers_image
from e2e.jobs import EXAMPLES, Object, Workspace, load_example, script_maps, slowed
from e2e.kube import wait_for
from e2e.stack import Stack
from tests.support.timeouts import LOCAL_S

pytestmark = pytest.mark.cluster
NAME = "torch-mlflow-server"
EPOCHS, PAUSE_S = 15, 1.5  # enough that most are still to come when both trackers' libraries are imported
CLAIM, SHARED = "shared", "/mnt/shared"
BETTER_THAN_CHANCE = 0.9  # ten classes: chance is 0.1
START_S = 300  # a server and two workers, which import more than they have processors for
RUN_S = 300
TOLD_S = 5.0
READ_S = 60.0  # it looks for new events every ten seconds, TensorBoard every five

# Used natively and without credentials, as the guides of both libraries show it.
NATIVE = {
    "no-wandb-key": "import wandb; wandb.init(project='digits')",
    "no-databricks-config": "import mlflow; mlflow.set_tracking_uri('databricks'); mlflow.start_run(run_name='a')",
}
# The words of the libraries themselves, and our way out.
TOLD = {
    "no-wandb-key": ("No API key configured", "paceline secrets create wandb"),
    "no-databricks-config": ("Databricks", "paceline secrets create databricks"),
}


@pytest.fixture(scope="module", autouse=True)
def image(real_nodes: Bed, stack: Stack) -> None:
    """Have the image on the nodes."""
    real_nodes.load_image(trackers_image())


@pytest.fixture(scope="module")
def shared() -> list[Path]:
    """The folder of the claim, once it is there."""
    return []


@pytest.fixture(scope="module")
def space(stack: Stack, real_nodes: Bed, shared: list[Path]) -> Iterator[Workspace]:
    """The server and the jobs that are to fail begin at once."""
    made = Workspace.create(stack, real_nodes.s3, f"trackers-{uuid.uuid4().hex[:6]}")
    real_nodes.shared_volume("mlflow", made.namespace)
    shared.append(real_nodes.shared_volume(CLAIM, made.namespace))
    made.submit(*server(), *(native(name, script) for name, script in NATIVE.items()))
    yield made
    made.delete()


def server() -> list[Object]:
    """The server of the example, with this bed's image and volume."""
    found = list(yaml.safe_load_all((EXAMPLES / NAME / "server.yaml").read_text()))
    for document in found:
        if document["kind"] == "Deployment":
            document["spec"]["template"]["spec"]["containers"][0]["image"] = TRACKERS_IMAGE
    return [document for document in found if document["kind"] != "PersistentVolumeClaim"]


def native(name: str, script: str) -> Object:
    """A job of one worker that does nothing but this."""
    spec = {
        "image": TRACKERS_IMAGE,
        "command": ["python3", "-c", script],
        "workers": {"count": 1, "resources": {"memory": "512Mi"}},
        "failurePolicy": {"maxRestarts": 3},
    }
    return {"apiVersion": "paceline.dev/v1alpha1", "kind": "TrainJob", "metadata": {"name": name}, "spec": spec}


def tracked() -> list[Object]:
    """The example, which also logs to W&B offline and is shown in TensorBoard; all of it lies on a volume."""
    job = load_example(NAME)
    command = slowed("train.train_epoch", PAUSE_S)
    job["spec"] |= {"image": TRACKERS_IMAGE, "command": command, "args": ["--epochs", str(EPOCHS)]}
    job["spec"]["workers"]["resources"] = {"memory": "1Gi"}
    job["spec"]["storage"] = {"path": f"{SHARED}/runs", "volume": {"claimName": CLAIM, "mountPath": SHARED}}
    job["spec"]["tracking"] |= {"wandb": {"project": "digits", "mode": "offline"}, "tensorboard": {"serve": True}}
    return [*script_maps(NAME), job]


@pytest.fixture(scope="module")
def finished(space: Workspace, real_nodes: Bed) -> Object:
    """The job's status after a worker was killed half way and the next attempt came to its end."""
    wait_for("the MLflow server", lambda: serves(space, "mlflow", 5000, "/health"), timeout_s=START_S)
    space.submit(*tracked())
    # The trackers' libraries are imported beside the training, which has begun long before.
    kinds = {"mlflow", "wandb"}
    wait_for("runs of both trackers", lambda: {run["kind"] for run in space.status(NAME).get("tracking", [])} == kinds,
             timeout_s=START_S, seen=lambda: space.tell(NAME))  # fmt: skip
    space.wait_step(NAME, 2, timeout_s=START_S)
    assert len({pod["spec"]["nodeName"] for pod in space.pods(NAME)}) == 2
    kill(Arena(real_nodes, space, NAME).worker(1), signal.SIGKILL)
    return space.wait_phase(NAME, "Succeeded", timeout_s=RUN_S)


@pytest.mark.parametrize("name", NATIVE)
def test_f7_a_tracker_without_credentials_ends_the_job_and_says_why(space: Workspace, name: str) -> None:
    wait_for(f"{name} to fail", lambda: space.status(name).get("phase") == "Failed", timeout_s=START_S,
             seen=lambda: space.tell(name))  # fmt: skip
    status = space.status(name)
    assert (status["restarts"], status["attempt"]) == (0, 0), "it would end in the same way again"
    (missing,) = (c for c in status["conditions"] if c["type"] == "MissingCredentials")
    assert (missing["status"], missing["reason"]) == ("True", "MissingCredentials")
    for words in TOLD[name]:
        assert words in missing["message"]
    (event,) = space.wait_events(name, "MissingCredentials")
    assert event["type"] == "Warning"
    assert TOLD[name][0] in event["message"]
    # What the library takes to be imported and to complain is its own: a second alone, and as long as it likes beside
    # what else these processors do.
    (pod,) = space.pods(name)
    (worker,) = pod["status"]["containerStatuses"]
    ended = _when(worker["state"]["terminated"]["finishedAt"])
    assert (_when(missing["lastTransitionTime"]) - ended).total_seconds() <= TOLD_S


def test_f5_two_attempts_are_one_run_on_the_mlflow_server(space: Workspace, finished: Object) -> None:
    assert (finished["restarts"], finished["attempt"]) == (1, 1)
    assert finished["result"]["metrics"]["accuracy"] > BETTER_THAN_CHANCE
    experiment = mlflow(space, "experiments/get-by-name?experiment_name=digits")["experiment"]["experiment_id"]
    (run,) = mlflow(space, "runs/search", experiment_ids=[experiment])["runs"]
    assert run["info"]["status"] == "FINISHED"
    (ours,) = (run for run in finished["tracking"] if run["kind"] == "mlflow")
    assert ours["runId"] == run["info"]["run_id"]
    assert ours["url"] == f"http://mlflow:5000/#/experiments/{experiment}/runs/{ours['runId']}"
    history = mlflow(space, f"metrics/get-history?run_id={ours['runId']}&metric_key=epoch&max_results=100")["metrics"]
    # An epoch that was logged and not yet saved when the worker died is trained and logged again.
    epochs = [int(metric["value"]) for metric in sorted(history, key=lambda metric: int(metric["timestamp"]))]
    assert sorted(set(epochs)) == list(range(1, EPOCHS + 1))
    assert len(epochs) <= EPOCHS + 2
    losses = mlflow(space, f"metrics/get-history?run_id={ours['runId']}&metric_key=loss&max_results=100")["metrics"]
    by_step = [metric["value"] for metric in sorted(losses, key=lambda metric: int(metric["step"]))]
    assert by_step[-1] < by_step[0] / 2


def test_f3_wandb_offline_is_read_back_from_the_volume(space: Workspace, finished: Object, shared: list[Path]) -> None:
    """W&B's library is in the image alone, so a pod reads the files."""
    files = sorted(shared[0].rglob("offline-run-*/*.wandb"))
    assert len(files) == 2, "one directory for each attempt"
    runs = [read_back(space, path) for path in files]
    (ours,) = (run for run in finished["tracking"] if run["kind"] == "wandb")
    assert {run["run_id"] for run in runs} == {ours["runId"]}
    assert {run["project"] for run in runs} == {"digits"}
    epochs = [row["epoch"] for run in runs for row in run["history"]]
    assert epochs[-1] == EPOCHS
    assert runs[-1]["exit_code"] == 0


def test_f3_tensorboard_shows_the_run_to_a_browser(space: Workspace, finished: Object) -> None:
    service = f"{NAME}-tensorboard"
    page = wait_for("TensorBoard", lambda: serves(space, service, 6006, "/"), timeout_s=START_S)
    assert "<title>TensorBoard</title>" in page

    def scalars() -> dict[str, Any] | None:
        found: dict[str, Any] = json.loads(serves(space, service, 6006, "/data/plugin/scalars/tags") or "{}")
        return found or None

    tags = wait_for("its scalars", scalars, timeout_s=READ_S)
    assert {"epoch", "loss", "accuracy"} <= set(tags["."])


def read_back(space: Workspace, path: Path) -> Object:
    """Read a W&B file in the pod of the MLflow server."""
    reader = Path(__file__).resolve().parents[1] / "tests" / "support" / "wandb_offline.py"
    code = (
        "import base64, dataclasses, json, pathlib, sys\n"
        "sys.path.insert(0, '/tmp')\n"
        f"pathlib.Path('/tmp/wandb_offline.py').write_bytes(base64.b64decode({_encoded(reader)!r}))\n"
        "pathlib.Path('/tmp/run.wandb').write_bytes(base64.b64decode(sys.stdin.read()))\n"
        "import wandb_offline\n"
        "print(json.dumps(dataclasses.asdict(wandb_offline.read(pathlib.Path('/tmp/run.wandb')))))\n"
    )
    told = space.kube.kubectl(
        "exec", "-i", "deployment/mlflow", "-n", space.namespace, "--", "python3", "-c", code, stdin=_encoded(path)
    )
    found: Object = json.loads(told.splitlines()[-1])
    return found


def mlflow(space: Workspace, call: str, **body: Any) -> Object:
    """Call the REST API of the server."""
    answer = serves(space, "mlflow", 5000, f"/api/2.0/mlflow/{call}", body)
    assert answer, f"MLflow does not answer {call}"
    found: Object = json.loads(answer)
    return found


def serves(space: Workspace, service: str, port: int, path: str, body: Object | None = None) -> str | None:
    """What a Service of the namespace answers, by the name that pods use; None while it does not."""
    found = space.kube.get("service", service, space.namespace)
    if found is None:
        return None
    data = json.dumps(body).encode() if body else None
    headers = {"Host": f"{service}:{port}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{found['spec']['clusterIP']}:{port}{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=LOCAL_S) as answer:
            return str(answer.read().decode())
    except OSError:
        return None


def _when(at: str) -> datetime:
    return datetime.fromisoformat(at.replace("Z", "+00:00"))


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
