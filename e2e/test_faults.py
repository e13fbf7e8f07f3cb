"""Faults of every kind, struck at the same time into a job each: what was seen, what it cost, and what is stored.

A job of its own namespace for each fault; all of them run side by side, and each test looks at what became of one.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest

from e2e import steps
from e2e.cluster import Bed
from e2e.jobs import Object, Workspace
from e2e.kube import wait_for
from e2e.stack import Stack
from e2e.step_train import AT
from e2e.steps import RANKS, Stored

pytestmark = pytest.mark.cluster
# Ten pods start at the same time on whatever this machine has.
START_S = 240
RUN_S = 300
STEPS = 2 * AT
# Enough that a fault from outside meets a running job: the status tells of a checkpoint after up to ten seconds.
MANY = 90
# Eight seconds: most of them are left when three checkpoints have been seen in the store.
SOME = 40
# The operator reads a pod's events when it has hung for ten seconds.
START_TIMEOUT_S = 14
# On the node that is lost no other job's pods are.
TAINT = "bed.paceline.dev/to-be-lost"
# The agents give a silent one up after 20 s. Kubernetes itself would need 60 s for the pod.
NOTICED_S = 40
# From there until all workers run again: two pods start, beside those of the other jobs.
RUN_AGAIN_S = 60


@dataclass(frozen=True, slots=True)
class Trial:
    """One job that has met its fault and has ended."""

    space: Workspace
    job: str
    status: Object
    stored: Stored
    placed: dict[str, str]
    """Node of each pod of the first attempt."""
    struck_at: float = 0.0
    """When, in seconds since the epoch."""
    before: Mapping[int, Object] = field(default_factory=dict)
    """What was committed then, by step."""

    @property
    def record(self) -> Object:
        """The one failure of the history."""
        (found,) = self.status["history"]
        assert isinstance(found, dict)
        return found

    @property
    def bed(self) -> Bed:
        """Where it ran."""
        assert self.space.stack.bed is not None
        return self.space.stack.bed

    @property
    def counts(self) -> tuple[int, int, int]:
        """Attempt, restarts, preemptions."""
        return self.status["attempt"], self.status["restarts"], self.status.get("preemptions", 0)

    def log(self, attempt: int, index: int) -> str:
        """What a pod has written."""
        pod = f"{self.job}-{attempt}-{index}"
        return self.space.kube.kubectl("logs", pod, "-n", self.space.namespace, "-c", "worker")


def drained(space: Workspace, name: str) -> Trial:
    """Evict a pod by draining its node, with scripts that ask `train.should_stop()`."""
    space.submit(steps.job(space, name, MANY))
    placed = steps.placed(space, name, 0, timeout_s=START_S)
    space.wait_step(name, 3, timeout_s=START_S)
    node = placed[f"{name}-0-1"]
    # Jobs of other tests are on that node as well.
    only = f"--pod-selector=paceline.dev/job={name}"
    try:
        space.kube.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", only)
        return ended(space, name, "Succeeded", placed)
    finally:
        space.kube.kubectl("uncordon", node)


def losing_a_pod(space: Workspace, name: str) -> Trial:
    """Delete a pod."""
    space.submit(steps.job(space, name, MANY))
    placed = steps.placed(space, name, 0, timeout_s=START_S)
    space.wait_step(name, 3, timeout_s=START_S)
    space.kube.delete("pods", f"{name}-0-1", space.namespace)
    return ended(space, name, "Succeeded", placed)


def losing_its_node(space: Workspace, name: str) -> Trial:
    """Take the power from the node of a pod. It is made for this, and gone afterwards."""
    bed = space.stack.bed
    assert bed is not None
    node = bed.add_node(taint=TAINT)
    try:
        here = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        # A breath of a preference: enough for an empty node, and nothing beside the operator's own for other nodes.
        affinity = {"nodeAffinity": {steps.PREFERRED: [{"weight": 1, "preference": here}]}}
        pod = {"spec": {"affinity": affinity, "tolerations": [{"key": TAINT, "operator": "Exists"}]}}
        made = steps.job(space, name, SOME, podTemplate=pod)
        made["spec"]["workers"]["placement"] = "StrictSpread"
        space.submit(made)
        placed = steps.placed(space, name, 0, timeout_s=START_S)
        assert node in placed.values()
        wait_for(
            f"checkpoints of {name}",
            lambda: len(steps.stored(space, name).commits) >= 3,
            timeout_s=START_S,
            seen=lambda: space.tell(name),
        )
        bed.kill_node(node)
        struck_at, before = time.time(), steps.stored(space, name).commits
        return replace(ended(space, name, "Succeeded", placed), struck_at=struck_at, before=before)
    finally:
        bed.remove_node(node)


def suspended(space: Workspace, name: str) -> Trial:
    """Suspend it, and resume it once its pods are gone."""
    space.submit(steps.job(space, name, MANY))
    placed = steps.placed(space, name, 0, timeout_s=START_S)
    space.wait_step(name, 3, timeout_s=START_S)
    patch(space, name, {"suspend": True})
    space.wait_phase(name, "Suspended", timeout_s=60)
    wait_for("its pods to go", lambda: not space.pods(name), timeout_s=60)
    patch(space, name, {"suspend": False})
    return ended(space, name, "Succeeded", placed)


def failing_every_time(space: Workspace, name: str) -> Trial:
    """Divide by zero on one rank of every attempt, while the other sleeps."""
    crash = 'import os; print("about to divide"); 1 / 0 if os.environ["RANK"] == "1" else __import__("time").sleep(60)'
    policy = {"maxRestarts": 1, "backoffSeconds": {"initial": 1, "max": 2}}
    made = steps.job(space, name, 0, failurePolicy=policy)
    made["spec"] |= {"command": ["python3", "-c", crash], "args": []}
    space.submit(made)
    placed = steps.placed(space, name, 0, timeout_s=START_S)
    return ended(space, name, "Failed", placed)


def failing_at_once(space: Workspace, name: str) -> Trial:
    """Exit with a code that a rule declares hopeless."""
    ended = by_itself(space, name, "Failed", "exit 3", rules=[{"exitCodes": [3], "action": "Fail"}])
    # What was committed while the group ended is told a moment after the end.
    newest = max(ended.stored.commits)
    wait_for(
        "the status to tell of the last checkpoint",
        lambda: space.status(name).get("checkpoint", {}).get("step") == newest,
        timeout_s=30,
        seen=lambda: space.tell(name),
    )
    return replace(ended, status=space.status(name))


def uncounted(space: Workspace, name: str) -> Trial:
    """Exit with a code that a rule declares harmless, where no restart is allowed otherwise."""
    rules = [{"exitCodes": [4], "action": "Fail"}, {"exitCodes": [3], "action": "RestartUncounted"}]
    return by_itself(space, name, "Succeeded", "exit 3", rules=rules, maxRestarts=0)


def hanging(space: Workspace, name: str) -> Trial:
    """Hang in a sleep."""
    return by_itself(space, name, "Succeeded", "hang", stallTimeoutSeconds=5)


def out_of_memory(space: Workspace, name: str) -> Trial:
    """Ask for more memory than the container may have."""
    return by_itself(space, name, "Succeeded", "memory")


def not_starting(space: Workspace, name: str) -> Trial:
    """Mount a ConfigMap that comes only after the first attempt was given up."""
    mount = {"name": "worker", "volumeMounts": [{"name": "late", "mountPath": "/late"}]}
    pod = {"spec": {"containers": [mount], "volumes": [{"name": "late", "configMap": {"name": "late"}}]}}
    policy = {"startTimeoutSeconds": START_TIMEOUT_S}
    space.submit(steps.job(space, name, STEPS, failurePolicy=policy, podTemplate=pod))
    placed = steps.placed(space, name, 0, timeout_s=START_S)
    wait_for(
        "the first attempt to be given up",
        lambda: space.status(name).get("attempt", 0) > 0,
        timeout_s=START_S,
        seen=lambda: space.tell(name),
    )
    # How long the next one takes is the machine's affair: by now the pods of all other jobs start as well.
    patch(space, name, {"failurePolicy": {"startTimeoutSeconds": 0}})
    space.submit({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}, "data": {}})
    return ended(space, name, "Succeeded", placed)


def by_itself(space: Workspace, name: str, phase: str, trouble: str, **policy: Any) -> Trial:
    """Let a job go wrong and wait for its end."""
    space.submit(steps.job(space, name, STEPS, *trouble.split(), failurePolicy=policy))
    placed = steps.placed(space, name, 0, timeout_s=START_S)
    if trouble != "hang":
        steps.ask_for_trouble(space, name, timeout_s=START_S)
    return ended(space, name, phase, placed)


def patch(space: Workspace, name: str, spec: Object) -> None:
    """Edit the job's spec."""
    body = json.dumps({"spec": spec})
    space.kube.kubectl("patch", "tj", name, "-n", space.namespace, "--type=merge", "-p", body)


def ended(space: Workspace, name: str, phase: str, placed: dict[str, str]) -> Trial:
    """Wait for the end."""
    status = space.wait_phase(name, phase, timeout_s=RUN_S)
    return Trial(space, name, status, steps.stored(space, name), placed)


Fault = Callable[[Workspace, str], Trial]
# Those first that take longest, or that mostly wait.
FAULTS: tuple[Fault, ...] = (
    losing_its_node, not_starting, hanging, drained, suspended, losing_a_pod, failing_every_time, out_of_memory,
    uncounted, failing_at_once,
)  # fmt: skip
# With all of them two cores would start pods for a minute before any job takes a step.
AT_ONCE = 5


@pytest.fixture(scope="module")
def trials(request: pytest.FixtureRequest, stack: Stack, real_nodes: Bed) -> Iterator[Mapping[str, Future[Trial]]]:
    """Strike all that the tests of this run are about, AT_ONCE of them beside each other."""
    run = uuid.uuid4().hex[:6]
    of_tests = {
        item.callspec.params.get("trial")
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    }
    names = {fault: fault.__name__.replace("_", "-") for fault in FAULTS if fault.__name__ in of_tests}

    def strike(fault: Fault) -> Trial:
        return fault(Workspace.create(stack, real_nodes.s3, f"{names[fault]}-{run}"), names[fault])

    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield {fault.__name__: threads.submit(strike, fault) for fault in names}
    for name in names.values():
        stack.kube.delete("namespace", f"{name}-{run}", "")


@pytest.fixture
def trial(request: pytest.FixtureRequest, trials: Mapping[str, Future[Trial]]) -> Trial:
    """What became of the job that the test is about."""
    return trials[request.param].result()


def of(fault: Fault) -> pytest.MarkDecorator:
    """The fault that a test is about."""
    return pytest.mark.parametrize("trial", [fault.__name__], indirect=True, ids=[""])


@of(drained)
def test_a_drained_node_costs_no_step_of_a_script_that_asks_whether_to_stop(trial: Trial) -> None:
    record = trial.record
    assert (record["cause"], record["countedAs"]) == ("PodEvicted", "preemption")
    assert trial.counts == (1, 0, 1)
    assert (record["pod"], record["rank"], record["node"]) == ("drained-0-1", 1, trial.placed["drained-0-1"])
    assert record["lostSteps"] == 0
    last = resumed_after(trial)
    assert trial.stored.commits[last]["attempt"] == 0
    # Not one step was taken twice, and none is missing.
    every_step_is_stored(trial, last=last, steps=MANY)
    assert trial.stored.reported == tuple(range(1, MANY + 1))
    again = steps.placed(trial.space, trial.job, 1, timeout_s=0)
    assert record["node"] not in again.values()


@of(losing_a_pod)
def test_deletion_of_a_pod_resumes_from_the_last_checkpoint(trial: Trial) -> None:
    record = trial.record
    assert (record["cause"], record["countedAs"]) == ("PodDeleted", "restart")
    assert trial.counts == (1, 1, 0)
    assert (record["pod"], record["rank"]) == ("losing-a-pod-0-1", 1)
    assert record["node"] == trial.placed[record["pod"]]
    # SIGTERM came first, and the script asks whether to stop.
    assert record["lostSteps"] == 0
    every_step_is_stored(trial, last=resumed_after(trial), steps=MANY)
    assert trial.stored.reported == tuple(range(1, MANY + 1))


@of(losing_its_node)
def test_a_lost_node_costs_seconds_and_no_committed_checkpoint(trial: Trial) -> None:
    record = trial.record
    assert (record["cause"], record["countedAs"]) == ("PodUnreachable", "preemption")
    assert trial.counts == (1, 0, 1)
    assert record["node"] == trial.placed[record["pod"]]
    assert (record["rank"], record["node"] in trial.bed.node_names) == (int(record["pod"][-1]), False)
    ended_at = datetime.fromisoformat(record["time"].replace("Z", "+00:00")).timestamp()
    assert 0 < ended_at - trial.struck_at < NOTICED_S
    assert record["downtimeSeconds"] < RUN_AGAIN_S
    assert record["node"] not in steps.placed(trial.space, trial.job, 1, timeout_s=0).values()
    assert {step: trial.stored.commits.get(step) for step in trial.before} == trial.before
    last = resumed_after(trial)
    assert last >= max(trial.before)
    every_step_is_stored(trial, last=last, steps=SOME)


@of(suspended)
def test_suspend_keeps_the_checkpoint_and_resume_goes_on_from_it(trial: Trial) -> None:
    assert trial.counts == (1, 0, 0)
    assert trial.status.get("history", []) == []
    last = max(step for step, commit in trial.stored.commits.items() if commit["attempt"] == 0)
    every_step_is_stored(trial, last=last, steps=MANY)
    assert trial.stored.reported == tuple(range(1, MANY + 1))
    assert f"begins after step {last}\n" in trial.log(1, 0)


@of(failing_every_time)
def test_restarts_end_at_the_limit_with_the_rank_and_its_last_words(trial: Trial) -> None:
    assert trial.counts == (1, 1, 0)
    failed = next(c for c in trial.status["conditions"] if c["type"] == "Failed")
    assert (failed["status"], failed["reason"]) == ("True", "MaxRestartsReached")
    assert "worker 1 in pod failing-every-time-1-1 exited 1" in failed["message"]
    assert "ZeroDivisionError" in failed["message"]
    assert trial.status["result"]["error"]["rank"] == 1
    assert [record.get("countedAs") for record in trial.status["history"]] == ["restart", None]


@of(failing_at_once)
def test_a_rule_ends_the_job_at_once_and_its_checkpoints_stay(trial: Trial) -> None:
    assert trial.counts == (0, 0, 0)
    record = trial.record
    assert (record["cause"], record["exitCode"], record["rank"]) == ("WorkerFailed", 3, 1)
    assert "countedAs" not in record
    (failed,) = [c for c in trial.status["conditions"] if c["type"] == "Failed" and c["status"] == "True"]
    assert failed["reason"] == "WorkerFailed"
    assert "failurePolicy.rules[0]" in failed["message"]
    error = trial.status["result"]["error"]
    assert (error["rank"], error["exitCode"]) == (1, 3)
    assert list(trial.stored.commits) == list(range(1, AT))
    assert trial.status["checkpoint"]["step"] == AT - 1


@of(uncounted)
def test_a_rule_restarts_uncounted_where_no_restart_is_allowed_otherwise(trial: Trial) -> None:
    went_on_after_the_trouble(trial)
    record = trial.record
    assert (record["cause"], record["countedAs"], record["exitCode"]) == ("WorkerFailed", "uncounted", 3)
    assert trial.counts == (1, 0, 0)


@of(hanging)
def test_a_hanging_worker_is_named_and_its_stack_is_in_the_log(trial: Trial) -> None:
    went_on_after_the_trouble(trial)
    assert (trial.record["cause"], trial.record["countedAs"]) == ("Stalled", "restart")
    assert trial.counts == (1, 1, 0)
    assert "hang_on_a_device" in trial.record["message"]
    # A pod whose end is not seen yet when the group is made anew is deleted, and its log with it.
    there = [int(pod["metadata"]["labels"]["paceline.dev/index"]) for pod in trial.space.pods(trial.job, attempt=0)]
    assert ["most recent call first" in trial.log(0, index) for index in there] == [True] * len(there)
    assert there


@of(out_of_memory)
def test_a_worker_out_of_memory_is_called_that(trial: Trial) -> None:
    went_on_after_the_trouble(trial)
    record = trial.record
    assert (record["cause"], record["countedAs"], record["exitCode"]) == ("OOMKilled", "restart", 137)
    assert trial.counts == (1, 1, 0)


@of(not_starting)
def test_pods_that_do_not_start_in_time_free_their_nodes_and_are_made_anew(trial: Trial) -> None:
    record = trial.record
    assert (record["cause"], record["countedAs"]) == ("StartTimeout", "restart")
    assert trial.counts == (1, 1, 0)
    assert 'configmap "late" not found' in record["message"]
    assert record["node"] == trial.placed[record["pod"]]
    assert trial.space.pods(trial.job, attempt=0) == []
    assert trial.stored.reported == tuple(range(1, STEPS + 1))


def went_on_after_the_trouble(trial: Trial) -> None:
    """Rank 1 went wrong in its step AT, which rank 0 had reported: just that one is lost."""
    record = trial.record
    assert (record["pod"], record["rank"]) == (f"{trial.job}-0-1", 1)
    assert record["node"] == trial.placed[record["pod"]]
    assert resumed_after(trial) == AT - 1
    assert record["lostSteps"] == 1
    every_step_is_stored(trial, last=AT - 1, steps=STEPS)


def every_step_is_stored(trial: Trial, *, last: int, steps: int) -> None:
    """There is a checkpoint of each step: up to the last one of the first attempt, the others of the second."""
    made = {step: commit["attempt"] for step, commit in trial.stored.commits.items()}
    assert made == {step: int(step > last) for step in range(1, steps + 1)}
    assert trial.status["checkpoint"]["step"] == steps


def resumed_after(trial: Trial) -> int:
    """The step that the second attempt went on from, by the history and by what each worker says."""
    (step,) = [step for step, commit in trial.stored.commits.items() if commit["index"] == trial.record["resumedFrom"]]
    assert [f"begins after step {step}\n" in trial.log(1, index) for index in range(RANKS)] == [True] * RANKS
    return step
