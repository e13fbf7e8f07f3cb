"""Keras on real nodes: the operator sets TF_CONFIG, two pods train together, one is killed half way."""

from __future__ import annotations

import json
import re
import signal

import pytest

from e2e.chaos.arena import Arena, kill
from e2e.cluster import Bed
from e2e.cluster.images import TENSORFLOW_IMAGE, tensorflow_image
from e2e.jobs import SECRET, Object, Workspace, load_example, script_maps

pytestmark = pytest.mark.cluster
NAME = "keras-digits"
EPOCHS = 5
BETTER_THAN_CHANCE = 0.85  # ten classes: chance is 0.1
START_S = 300  # two imports of TensorFlow on what this machine has left
RUN_S = 300


@pytest.fixture(scope="module", autouse=True)
def image(real_nodes: Bed) -> None:
    """Have the image on the nodes."""
    real_nodes.load_image(tensorflow_image())


def keras_digits(space: Workspace) -> list[Object]:
    """The example, slow enough that something can be broken between two epochs."""
    job = load_example(NAME)
    job["spec"] |= {"image": TENSORFLOW_IMAGE, "args": ["--epochs", str(EPOCHS), "--pause-seconds", "5"]}
    job["spec"]["storage"] |= {"path": space.storage_path, "secretRef": {"name": SECRET}}
    return [*script_maps(NAME), job]


def test_two_pods_train_together_and_go_on_after_one_is_killed(space: Workspace, real_nodes: Bed) -> None:
    space.submit(*keras_digits(space))
    space.wait_step(NAME, 2, timeout_s=START_S)
    pods = space.pods(NAME)
    assert len({pod["spec"]["nodeName"] for pod in pods}) == len(pods) == 2
    kill(Arena(real_nodes, space, NAME).agent(1), signal.SIGKILL)  # the first process of its container: the pod is dead

    status = space.wait_phase(NAME, "Succeeded", timeout_s=RUN_S)
    assert (status["restarts"], status["attempt"]) == (1, 1)
    (failure,) = status["history"]
    assert failure["pod"] == f"{NAME}-0-1"
    # The step is the number of reports of the run, one for each epoch.
    assert status["progress"]["step"] == status["checkpoint"]["step"] == EPOCHS
    assert status["result"]["metrics"]["val_accuracy"] > BETTER_THAN_CHANCE
    reports = [json.loads(line) for line in space.read_object(f"runs/{NAME}/result.json").splitlines()]
    assert {report["iteration"] for report in reports} == set(range(1, EPOCHS + 1))
    assert {report["attempt"] for report in reports} == {0, 1}

    newest = status["checkpoint"]["path"].partition("?")[0].rsplit("/", 1)[-1]
    assert json.loads(space.read_object(f"runs/{NAME}/{newest}/.metadata.json")) == {"epoch": EPOCHS}
    resumed = failure["resumedFrom"]
    for index in (0, 1):
        log = space.kube.kubectl("logs", f"{NAME}-1-{index}", "-n", space.namespace, "-c", "worker")
        assert f"resumes after epoch {resumed + 1}" in log


def test_a_plain_tensorflow_script_runs_unchanged(space: Workspace) -> None:
    """Row A9: only `framework: tensorflow` says that this is TensorFlow."""
    example = "plain-tensorflow-script"
    job, maps = load_example(example), script_maps(example)
    assert "paceline" not in "".join(maps[0]["data"].values()).lower()
    job["spec"]["image"] = TENSORFLOW_IMAGE
    space.submit(*maps, job)
    name = job["metadata"]["name"]
    assert space.wait_phase(name, "Succeeded", timeout_s=START_S)["restarts"] == 0
    for index in (0, 1):
        log = space.kube.kubectl("logs", f"{name}-0-{index}", "-n", space.namespace, "-c", "worker")
        told = re.search(rf"worker {index} of 2: accuracy (\S+)", log)
        assert told, log
        assert float(told[1]) > BETTER_THAN_CHANCE
