"""Something dies in the middle of a run: it goes on from the last committed checkpoint and says what happened."""

from __future__ import annotations

import json
import time

import pytest

from e2e import steps
from e2e.cluster import Bed
from e2e.cluster.images import TORCH_IMAGE
from e2e.jobs import SECRET, Workspace, load_example, script_maps, slowed
from e2e.kube import wait_for

pytestmark = pytest.mark.cluster
START_S = 180
RUN_S = 300
# Each step takes a third of a second or so with its checkpoint: enough that the operator is back before they are done.
MANY = 40
LIGHTNING = "lightning-digits"
# Enough that most are still to come when the status tells of the second.
EPOCHS, PAUSE_S = 15, 0.6
KILL_RANK = """
import os, signal, sys
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        env = open(f"/proc/{pid}/environ", "rb").read().split(b"\\0")
        cmd = open(f"/proc/{pid}/cmdline", "rb").read()
    except OSError:
        continue
    if b"RANK=" + sys.argv[1].encode() in env and any(e.startswith(b"PACELINE_AGENT_SOCKET=") for e in env):
        os.kill(int(pid), signal.SIGKILL)
        print("killed", pid, cmd)
        break
else:
    sys.exit("no process of that rank")
"""


def test_kill_9_of_a_training_process_resumes_from_the_last_checkpoint(space: Workspace) -> None:
    """The Lightning example: it saves and resumes by its callback, and nothing in it knows of the kill."""
    job = load_example(LIGHTNING)
    command = slowed("train.DigitsClassifier.on_train_epoch_start", PAUSE_S)
    job["spec"] |= {"image": TORCH_IMAGE, "command": command, "args": ["--epochs", str(EPOCHS)]}
    job["spec"]["storage"] |= {"path": space.storage_path, "secretRef": {"name": SECRET}}
    space.submit(*script_maps(LIGHTNING), job)
    before = space.wait_step(LIGHTNING, 2, timeout_s=START_S)
    nodes = {pod["spec"]["nodeName"] for pod in space.pods(LIGHTNING)}
    assert len(nodes) == 2
    _exec(space, f"{LIGHTNING}-0-1", KILL_RANK, "1")

    status = space.wait_phase(LIGHTNING, "Succeeded", timeout_s=RUN_S)
    assert status["restarts"] == 1
    assert status["attempt"] == 1
    (entry,) = status["history"]
    assert (entry["rank"], entry["exitCode"], entry["pod"]) == (1, 137, f"{LIGHTNING}-0-1")
    assert entry["resumedFrom"] >= before["checkpoint"]["index"]
    assert status["result"]["metrics"]["accuracy"] > 0.9
    body = space.read_object(f"runs/{LIGHTNING}/result.json")
    assert sorted({json.loads(line)["epoch"] for line in body.splitlines()}) == list(range(EPOCHS))


@pytest.mark.disturbs
def test_the_operator_killed_in_the_middle_creates_nothing_twice_and_loses_nothing(space: Workspace) -> None:
    space.submit(steps.job(space, "steps", MANY))
    space.wait_step("steps", 1, timeout_s=START_S)
    names = {pod["metadata"]["uid"] for pod in space.pods("steps")}
    for pod in space.stack.operator_pods():
        space.kube.kubectl("delete", "pod", pod, "-n", "paceline-system", "--grace-period=0", "--force")

    status = space.wait_phase("steps", "Succeeded", timeout_s=RUN_S)
    assert status["restarts"] == 0
    assert status["attempt"] == 0
    assert {pod["metadata"]["uid"] for pod in space.pods("steps")} == names
    assert steps.stored(space, "steps").reported == tuple(range(1, MANY + 1))


@pytest.mark.disturbs
def test_a_settled_system_writes_nothing(space: Workspace, real_nodes: Bed) -> None:
    space.submit(steps.job(space, "steps", 1))
    space.wait_phase("steps", "Succeeded", timeout_s=RUN_S)
    writes_before = _operator_writes(real_nodes)
    quiet_since = len(writes_before)

    def settled() -> bool:
        nonlocal quiet_since
        quiet_since = len(_operator_writes(real_nodes))
        time.sleep(10)
        return len(_operator_writes(real_nodes)) == quiet_since

    wait_for(
        "ten seconds without a write by the operator",
        settled,
        timeout_s=45,
        seen=lambda: _operator_writes(real_nodes)[quiet_since:],
    )
    assert writes_before, "the audit log shows no write of the operator at all: the count proves nothing"


def test_deleting_the_job_takes_everything_it_made_along(space: Workspace) -> None:
    space.submit(steps.job(space, "steps", MANY))
    # When its containers have just begun to run, their agents are still being imported.
    space.wait_phase("steps", "Running", timeout_s=START_S)
    space.kube.delete("trainjob", "steps", space.namespace)
    wait_for(
        "job, pods and Service to go",
        lambda: (
            not space.pods("steps")
            and space.kube.get("service", "steps", space.namespace) is None
            and space.kube.get("trainjob", "steps", space.namespace) is None
        ),
        # Well within the grace period of 30 s: nothing is left to be killed at its end.
        timeout_s=25,
    )


def _exec(space: Workspace, pod: str, script: str, *args: str) -> str:
    return space.kube.kubectl("exec", pod, "-n", space.namespace, "-c", "worker", "--", "python3", "-c", script, *args)


def _operator_writes(bed: Bed) -> list[str]:
    """Return the write requests of the operator's account in the audit log, without its Lease."""
    found = []
    for line in bed.audit_log.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the last line, half written
        user = entry.get("user", {}).get("username", "")
        write = entry.get("verb") in {"create", "update", "patch", "delete", "deletecollection"}
        resource = entry.get("objectRef", {}).get("resource")
        if "paceline-system" in user and write and resource != "leases" and entry.get("stage") == "ResponseComplete":
            found.append(f"{entry['verb']} {entry['requestURI']}")
    return found
