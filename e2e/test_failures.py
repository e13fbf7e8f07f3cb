"""Something dies in the middle of a run: it goes on from the last committed checkpoint and says what happened."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from e2e.cluster import Bed
from e2e.jobs import Workspace, digits
from e2e.kube import wait_for

pytestmark = pytest.mark.cluster
START_S = 180
RUN_S = 300
# A pause after each epoch leaves time to strike between two checkpoints.
SLOW: dict[str, Any] = {"args": ["--epochs", "12", "--pause-seconds", "1"]}
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
    space.submit(*digits(space, **SLOW))
    before = space.wait_step("digits", 2, timeout_s=START_S)
    _exec(space, "digits-0-1", KILL_RANK, "3")

    status = space.wait_phase("digits", "Succeeded", timeout_s=RUN_S)
    assert status["restarts"] == 1
    assert status["attempt"] == 1
    (entry,) = status["history"]
    assert (entry["rank"], entry["exitCode"], entry["pod"]) == (3, 137, "digits-0-1")
    assert entry["resumedFrom"] >= before["checkpoint"]["index"]
    assert status["result"]["metrics"]["accuracy"] > 0.9
    _no_epoch_was_lost(space, "digits", epochs=12)


def test_deletion_of_a_pod_resumes_from_the_last_checkpoint(space: Workspace) -> None:
    space.submit(*digits(space, **SLOW))
    before = space.wait_step("digits", 2, timeout_s=START_S)
    space.kube.kubectl("delete", "pod", "digits-0-1", "-n", space.namespace, "--wait=false")

    status = space.wait_phase("digits", "Succeeded", timeout_s=RUN_S)
    assert status["restarts"] == 1
    assert status["history"][0]["pod"] == "digits-0-1"
    assert status["history"][0]["resumedFrom"] >= before["checkpoint"]["index"]
    _no_epoch_was_lost(space, "digits", epochs=12)


def test_restarts_end_at_the_limit_with_the_rank_and_its_last_words(space: Workspace) -> None:
    crash = 'import os; print("about to divide"); 1 / 0 if os.environ["RANK"] == "1" else __import__("time").sleep(60)'
    space.submit(
        *digits(
            space, workers__count=2, workers__perPod=1, command=["python3", "-c", crash], args=[],
            failurePolicy={"maxRestarts": 1, "backoffSeconds": {"initial": 1, "max": 2}},
        )
    )  # fmt: skip
    status = space.wait_phase("digits", "Failed", timeout_s=START_S)
    assert status["restarts"] == 1
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert failed["status"] == "True"
    assert failed["reason"] == "MaxRestartsReached"
    assert "worker 1 in pod digits-1-1 exited 1" in failed["message"]
    assert "ZeroDivisionError" in failed["message"]
    assert status["result"]["error"]["rank"] == 1


def test_the_operator_killed_in_the_middle_creates_nothing_twice_and_loses_nothing(space: Workspace) -> None:
    space.submit(*digits(space, **SLOW))
    space.wait_step("digits", 1, timeout_s=START_S)
    names = {pod["metadata"]["uid"] for pod in space.pods("digits")}
    for pod in space.stack.operator_pods():
        space.kube.kubectl("delete", "pod", pod, "-n", "paceline-system", "--grace-period=0", "--force")

    status = space.wait_phase("digits", "Succeeded", timeout_s=RUN_S)
    assert status["restarts"] == 0
    assert status["attempt"] == 0
    assert {pod["metadata"]["uid"] for pod in space.pods("digits")} == names


def test_a_settled_system_writes_nothing(space: Workspace, real_nodes: Bed) -> None:
    space.submit(*digits(space, args=["--epochs", "1"]))
    space.wait_phase("digits", "Succeeded", timeout_s=RUN_S)
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


def test_suspend_keeps_the_checkpoint_and_resume_goes_on_from_it(space: Workspace) -> None:
    space.submit(*digits(space, **SLOW))
    space.wait_step("digits", 2, timeout_s=START_S)
    _patch(space, "digits", '{"spec":{"suspend":true}}')
    suspended = space.wait_phase("digits", "Suspended", timeout_s=60)
    wait_for("its pods to go", lambda: not space.pods("digits"), timeout_s=60)
    _patch(space, "digits", '{"spec":{"suspend":false}}')

    status = space.wait_phase("digits", "Succeeded", timeout_s=RUN_S)
    assert status["restarts"] == 0
    assert status["checkpoint"]["index"] > suspended["checkpoint"]["index"]
    _no_epoch_was_lost(space, "digits", epochs=12)


def test_deleting_the_job_takes_everything_it_made_along(space: Workspace) -> None:
    space.submit(*digits(space, **SLOW))
    space.wait_phase("digits", "Running", timeout_s=START_S)
    space.kube.kubectl("delete", "tj", "digits", "-n", space.namespace, "--wait=false")
    wait_for(
        "job, pods and Service to go",
        lambda: (
            not space.pods("digits")
            and space.kube.get("service", "digits", space.namespace) is None
            and space.kube.get("trainjob", "digits", space.namespace) is None
        ),
        timeout_s=90,
    )


def _exec(space: Workspace, pod: str, script: str, *args: str) -> str:
    return space.kube.kubectl("exec", pod, "-n", space.namespace, "-c", "worker", "--", "python3", "-c", script, *args)


def _patch(space: Workspace, name: str, patch: str) -> None:
    space.kube.kubectl("patch", "tj", name, "-n", space.namespace, "--type=merge", "-p", patch)


def _no_epoch_was_lost(space: Workspace, name: str, *, epochs: int) -> None:
    """Every epoch stands in progress.csv: those before the fault and those after the resume."""
    body = space.read_object(f"runs/{name}/result.json")
    seen = {json.loads(line)["epoch"] for line in body.splitlines()}
    first = min(seen)
    assert seen == set(range(first, first + epochs))


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
