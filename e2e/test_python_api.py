"""`Trainer(fn, backend=Kubernetes(...)).fit()`: from a process in the cluster, and from this one of another Python."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import Bed, KubectlError
from e2e.cluster.images import OPERATOR_IMAGE
from e2e.jobs import EXAMPLES, SECRET, Object, Workspace
from e2e.kube import wait_for
from e2e.stack import Stack
from paceline import train
from paceline.client.errors import NotFoundError
from paceline.train import FailureConfig, Result, RunConfig, ScalingConfig, TrainingFailedError
from paceline.trainer import Kubernetes, RunHandle, Trainer

pytestmark = pytest.mark.cluster
CALLS = Path(__file__).with_name("fit_calls.py")
DONE_S = 120
# Of the images that the bed builds: Debian's.
IMAGE_PYTHON = (3, 13)


@pytest.fixture(scope="module")
def space(stack: Stack, real_nodes: Bed) -> Iterator[Workspace]:
    """A namespace in which a pod, with the rights of a user, calls `fit()`."""
    made = Workspace.create(stack, real_nodes.s3, f"fit-{uuid.uuid4().hex[:6]}")
    made.submit(*_caller(made))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(stack.kube.kubeconfig))
        for name, value in made.s3.environment.items():
            if "ENDPOINT" not in name:
                patch.setenv(name, value)
        yield made
    made.delete()


def _caller(space: Workspace) -> list[Object]:
    """The pod: the operator's image has what a user's machine has, and the Python of the workers' image."""
    keys = {"secretRef": {"name": SECRET}}
    files = {"fit_calls.py": CALLS.read_text(), "train.py": (EXAMPLES / "fit-on-kubernetes/train.py").read_text()}
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "caller", "image": OPERATOR_IMAGE, "envFrom": [keys], "securityContext": restricted,
        "command": ["python3", "/calls/fit_calls.py", OPERATOR_IMAGE, space.storage_path, SECRET],
        "env": [{"name": "PYTHONPATH", "value": "/opt/paceline/vendor"}],
        "volumeMounts": [{"name": "calls", "mountPath": "/calls"}],
    }  # fmt: skip
    spec = {
        "serviceAccountName": "user", "restartPolicy": "Never", "containers": [container],
        "volumes": [{"name": "calls", "configMap": {"name": "calls"}}],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }  # fmt: skip
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "calls"}, "data": files},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "user"}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "user"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "ServiceAccount", "name": "user"}],
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "caller"}, "spec": spec},
    ]


def in_other_python(config: dict[str, Any]) -> None:
    train.report({"never": config["x"]})


@pytest.mark.skipif(sys.version_info[:2] == IMAGE_PYTHON, reason="this Python is that of the image: nothing to refuse")
def test_a_function_of_another_python_is_refused_without_a_restart(space: Workspace) -> None:
    trainer = Trainer(
        in_other_python,
        train_loop_config={"x": 1},
        scaling_config=ScalingConfig(resources_per_worker={"CPU": 0.1}),
        run_config=RunConfig(
            name="other-python", storage_path=space.storage_path, failure_config=FailureConfig(max_failures=3)
        ),
        backend=Kubernetes(image=OPERATOR_IMAGE, namespace=space.namespace, storage_secret=SECRET),
    )
    with pytest.raises(TrainingFailedError) as refused:
        trainer.fit()
    here, there = (".".join(map(str, version[:2])) for version in (sys.version_info, IMAGE_PYTHON))
    assert refused.value.reason == "InvalidConfig"
    assert f"pickled by Python {here}, and this worker runs Python {there}: use an image with Python {here}" in str(
        refused.value
    )
    status = space.status("other-python")
    assert (status["phase"], status["attempt"], status["restarts"]) == ("Failed", 0, 0)
    assert (refused.value.exit_code, refused.value.type) == (64, "TaskError")


def test_fit_runs_on_two_nodes_and_returns_the_result_from_storage(space: Workspace) -> None:
    told = _told(space, "fit")
    assert told["metrics"]["step"] == 5
    assert 2 < told["metrics"]["slope"] < 4
    assert told["config"]["train_loop_config"] == {"lr": 0.1, "epochs": 5}
    assert told["rows"] == 5
    assert told["checkpoint"] == f"{space.storage_path.replace('?', '/Line_1/checkpoint_000004?')}"
    assert len({pod["spec"]["nodeName"] for pod in space.pods("line-1")}) == 2
    log = space.kube.kubectl("logs", "caller", "-n", space.namespace)
    assert "epoch 4: loss" in log
    assert "[paceline] line-1: Running, workers 2/2" in log
    assert Result.from_path(space.storage_path.replace("?", "/Line_1?")).metrics == told["metrics"]


def test_a_failing_function_raises_with_its_rank_and_traceback(space: Workspace) -> None:
    told = _told(space, "failing")
    assert (told["rank"], told["type"]) == (1, "ValueError")
    assert (
        "raise ValueError(f\"no column {config['column']!r}\")" in told["traceback"]
        or "fit_calls.py" in told["traceback"]
    )
    assert "ValueError: no column 'label'" in told["traceback"]
    rank, text = told["kept"]
    assert rank == 1
    assert "no column 'label'" in text


def test_a_detached_run_is_found_by_another_process_and_cancelled(space: Workspace) -> None:
    _told(space, "fit")
    run = RunHandle.find("detached", namespace=space.namespace)
    assert run.status.phase == "Running"
    assert any("still here" in line for line in run.logs(rank=1))
    run.cancel()
    gone = "configmap/detached-task"
    maps = ("get", "configmap", "-n", space.namespace, "-o", "name")
    wait_for("its ConfigMap to go", lambda: gone not in space.kube.kubectl(*maps).split(), timeout_s=DONE_S)
    with pytest.raises(NotFoundError, match="detached"):
        _ = run.status


def _told(space: Workspace, call: str) -> dict[str, Any]:
    """The line of JSON that the caller has printed about a call."""

    def look() -> dict[str, Any] | None:
        try:
            log = space.kube.kubectl("logs", "caller", "-n", space.namespace)
        except KubectlError:  # not started yet
            log = ""
        lines = [json.loads(line) for line in log.splitlines() if line.startswith('{"call"')]
        found = next((line for line in lines if line["call"] == call), None)
        pod = json.loads(space.kube.kubectl("get", "pod", "caller", "-n", space.namespace, "-o", "json"))
        assert found or pod["status"]["phase"] not in ("Succeeded", "Failed"), log
        return found

    return wait_for(f"the caller to tell of {call}", look, timeout_s=DONE_S)
