"""The digits example on real nodes: what a user sees from apply to the result."""

from __future__ import annotations

import json
import subprocess
import threading
import uuid
from collections.abc import Iterator

import pytest

from e2e.cluster import Bed
from e2e.jobs import Workspace, digits
from e2e.stack import Stack

pytestmark = pytest.mark.cluster
BETTER_THAN_CHANCE = 0.95  # ten classes: chance is 0.1
RUN_S = 180  # four torch imports on two cores alone may take 25 s


@pytest.fixture(scope="module")
def finished(stack: Stack, real_nodes: Bed) -> Iterator[tuple[Workspace, list[str]]]:
    """Run the example once; return its workspace and what `kubectl get tj` said at each moment."""
    space = Workspace.create(stack, real_nodes.s3, f"digits-{uuid.uuid4().hex[:6]}")
    space.submit(*digits(space))
    yield space, _rows(space)
    space.delete()


def _rows(space: Workspace) -> list[str]:
    command = [space.kube.kubectl_path, "get", "tj", "digits", "-n", space.namespace, "--no-headers", "--watch"]
    rows: list[str] = []
    with subprocess.Popen(command, env=space.kube.env, stdout=subprocess.PIPE, text=True) as watch:
        late = threading.Timer(RUN_S, watch.kill)
        late.start()
        try:
            for row in watch.stdout or ():
                rows.append(row.strip())
                if "Succeeded" in row or "Failed" in row:
                    return rows
            pytest.fail(f"the digits job has not ended within {RUN_S} s: {space.tell('digits')}")
        finally:
            late.cancel()
            watch.kill()


def test_the_example_succeeds_with_an_accuracy_that_means_something(finished: tuple[Workspace, list[str]]) -> None:
    space, _ = finished
    status = space.status("digits")
    assert status["phase"] == "Succeeded", space.tell("digits")
    assert status["result"]["metrics"]["accuracy"] > BETTER_THAN_CHANCE
    assert status["restarts"] == 0
    assert status["workers"]["succeeded"] == 4


def test_its_pods_ran_on_different_nodes_with_the_gpus_they_asked_for(finished: tuple[Workspace, list[str]]) -> None:
    space, _ = finished
    pods = space.pods("digits")
    assert len(pods) == 2
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
    for pod in pods:
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"


def test_kubectl_get_tells_the_truth_at_every_moment(finished: tuple[Workspace, list[str]]) -> None:
    space, rows = finished
    header = space.kube.kubectl("get", "tj", "-n", space.namespace).splitlines()[0].split()
    assert header == ["NAME", "PHASE", "WORKERS", "STEP", "CHECKPOINT", "RESTARTS", "AGE"]
    phases = [row.split()[1] for row in rows if len(row.split()) > 2]
    assert phases[-1] == "Succeeded"
    assert "Running" in phases
    order = ["Pending", "Scheduling", "Starting", "Running", "Succeeded"]
    places = [order.index(phase) for phase in phases if phase in order]
    assert places == sorted(places), f"phases went backwards: {rows}"


def test_kubectl_describe_tells_a_story(finished: tuple[Workspace, list[str]]) -> None:
    space, _ = finished
    reasons = [event["reason"] for event in space.events("digits")]
    assert reasons, "no events at all"
    text = space.kube.kubectl("describe", "tj", "digits", "-n", space.namespace)
    for reason in reasons:
        assert reason in text
    assert "Succeeded" in reasons[-1] or "Completed" in reasons[-1]


def test_checkpoints_lie_in_s3_whole(finished: tuple[Workspace, list[str]]) -> None:
    space, _ = finished
    stored = space.objects_on_storage()
    run = "runs/digits/"
    commits = [key for key in stored if key.endswith("/.paceline.json")]
    assert commits, f"no committed checkpoint among {sorted(stored)}"
    assert {f"{run}result.json", f"{run}progress.csv", f"{run}params.json"} <= set(stored)
    # The status's checkpoint is one of those that are there.
    latest = space.status("digits")["checkpoint"]["path"].partition("?")[0].rsplit("/", 1)[-1]
    assert f"{run}{latest}/.paceline.json" in commits


def test_no_secret_value_is_in_any_object_log_or_event(finished: tuple[Workspace, list[str]]) -> None:
    space, _ = finished
    kube = space.kube
    said = [
        kube.kubectl("get", kind, "-n", space.namespace, "-o", "json")
        for kind in ("trainjobs", "pods", "services", "events", "configmaps")
    ]
    said += [
        kube.kubectl("logs", pod["metadata"]["name"], "-n", space.namespace, "--all-containers")
        for pod in space.pods("digits")
    ]
    said += [kube.kubectl("logs", pod, "-n", "paceline-system") for pod in space.stack.operator_pods()]
    assert len("".join(said)) > 1000
    for text in said:
        assert space.s3.secret_key not in text


def test_the_cli_tells_the_same(finished: tuple[Workspace, list[str]]) -> None:
    space, _ = finished
    got = space.stack.paceline("get", "digits", "-n", space.namespace, "-o", "json")
    assert json.loads(got.stdout)["status"]["phase"] == "Succeeded"
    assert "accuracy" in space.stack.paceline("describe", "digits", "-n", space.namespace).stdout
    assert space.stack.paceline("wait", "digits", "-n", space.namespace).returncode == 0
    assert space.stack.paceline("get", "nothing", "-n", space.namespace, check=False).returncode == 3
