from __future__ import annotations

from typing import Any

import pytest

from paceline.cli.description import Seen, describe
from paceline.client.logtail import pod_state
from tests.support.cli_objects import CHECKPOINT, ERROR, NOW, condition, event, job, pod, printed
from tests.support.trainjobs import make_trainjob

FAILED = {
    "phase": "Failed", "attempt": 1, "restarts": 1, "startTime": "2026-01-02T03:04:06Z",
    "completionTime": "2026-01-02T03:09:06Z", "checkpoint": CHECKPOINT,
    "progress": {"step": 180, "metrics": {"loss": 0.5}, "slowestRank": 2},
    "conditions": [condition("Failed", "True", "MaxRestartsReached", "rank 3 exited 1")],
    "result": {"path": "s3://b/runs/digits", "metrics": {"loss": 0.5}, "error": ERROR},
    "history": [{"attempt": 0, "time": "2026-01-02T03:08:05Z", "cause": "NodeLost", "rank": 2, "pod": "digits-0-1",
                 "node": "node-1", "exitCode": 137, "message": "node-1 is gone", "resumedFrom": 3, "lostSteps": 10,
                 "downtimeSeconds": 4.21, "countedAs": "preemption"}],
}  # fmt: skip


def told(status: dict[str, Any], *, pods: Any = (), events: Any = (), width: int = 140) -> str:
    seen = Seen(job(**status), pods, events, NOW, "kubectl paceline")
    return printed(describe(seen), width)


def test_a_failure_says_who_where_why_and_what_to_do() -> None:
    text = told(FAILED)
    for part in (
        "took 5m", "1 of at most 3", "step 180", "7 (step 168)", "2m ago", "4 in 2 pods of 2", "slowest rank 2",
        "rank 3 exited 1", "kubectl paceline logs digits --rank 3", "rank 3: ValueError: loss is nan (exit code 1)",
        "Traceback",
    ):  # fmt: skip
        assert part in text


def test_the_history_tells_what_a_restart_cost() -> None:
    text = told(FAILED)
    for part in (
        "NodeLost",
        "exit code 137",
        "counted as preemption",
        "rank 2",
        "node-1",
        "resumed from checkpoint 3, 10 steps lost, down for 4.2 s",
    ):
        assert part in text


def test_a_restart_that_a_rule_does_not_count_says_so() -> None:
    record = {"attempt": 0, "time": "2026-01-02T03:08:05Z", "cause": "WorkerFailed", "countedAs": "uncounted"}
    assert "not counted" in told({"phase": "Running", "attempt": 1, "history": [record]})


def test_attempts_that_share_a_record_are_counted() -> None:
    record = {"attempt": 7, "time": "2026-01-02T03:08:05Z", "cause": "Unschedulable", "times": 5}
    assert "5 attempts in a row" in told({"phase": "Restarting", "attempt": 8, "history": [record]})


def test_the_result_says_how_to_read_it() -> None:
    text = told(FAILED)
    assert f'Checkpoint("{CHECKPOINT["path"]}")' in text
    assert "result.json" in text


def test_pods_are_shown_with_their_ranks() -> None:
    text = told({"phase": "Running"}, pods=[pod(0, 0, state={"running": {}}), pod(0, 1, state={"running": {}})])
    rows = [line.split() for line in text.splitlines() if "digits-0-" in line]
    assert rows == [["0", "0-1", "digits-0-0", "node-0", "Running"], ["0", "2-3", "digits-0-1", "node-1", "Running"]]


def test_events_are_told_with_their_count() -> None:
    text = told({"phase": "Pending"}, events=[event("FailedScheduling", "no room", pod="digits-0-1", count=3)])
    assert "digits-0-1" in text
    assert "no room (x3)" in text


def test_a_job_without_an_operator_says_so() -> None:
    assert "the operator has not looked at this job" in told({})


def test_advice_is_for_what_holds_now_alone() -> None:
    over = told({"phase": "Running", "conditions": [condition("Suspended", "False", "SuspendedByUser")]})
    assert "resume" not in over
    now = told({"phase": "Suspended", "conditions": [condition("Suspended", "True", "SuspendedByUser")]})
    assert "kubectl paceline resume digits" in now


def test_text_of_users_is_no_markup() -> None:
    message = "[bold]loss[/] is [nan"
    assert message in told({"phase": "Failed", "conditions": [condition("Failed", "True", "WorkerFailed", message)]})


def test_it_fits_a_terminal_of_80_columns() -> None:
    text = told(FAILED, pods=[pod(1, 0, state={"running": {}})], events=[event("A", "b " * 100)], width=80)
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("shown", "state"),
    [
        pytest.param(pod(state={"running": {}}), "Running", id="runs"),
        pytest.param(pod(state={"waiting": {"reason": "ImagePullBackOff"}}), "ImagePullBackOff", id="waits"),
        pytest.param(
            pod(state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), "OOMKilled (exit code 137)", id="oom"
        ),
        pytest.param(pod(state={"terminated": {"exitCode": 0}}, phase="Succeeded"), "Succeeded", id="done"),
        pytest.param(
            pod(phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]),
            "Unschedulable", id="no node",
        ),
        pytest.param(
            pod(initContainerStatuses=[{"name": "i", "state": {"waiting": {"reason": "ErrImagePull"}}}]),
            "ErrImagePull", id="init container",
        ),
        pytest.param(pod(phase="Failed", reason="Evicted"), "Evicted", id="evicted"),
    ],
)  # fmt: skip
def test_the_state_of_a_pod(shown: dict[str, Any], state: str) -> None:
    assert pod_state(shown) == state


def test_a_pod_that_is_being_deleted_says_so() -> None:
    shown = pod(state={"running": {}})
    shown["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:06Z"
    assert pod_state(shown) == "Terminating"


def test_runs_of_trackers_are_told_with_their_pages() -> None:
    runs = [
        {"kind": "wandb", "runId": "3f2c", "url": "https://wandb.ai/team/digits/runs/3f2c"},
        {"kind": "comet", "runId": "9a", "path": "/mnt/runs/digits/comet"},
    ]
    text = told({"phase": "Running", "tracking": runs})
    for part in ("Tracking", "3f2c", "https://wandb.ai/team/digits/runs/3f2c", "9a", "/mnt/runs/digits/comet"):
        assert part in text
    assert "port-forward" not in text
    assert "Tracking" not in told({"phase": "Running"})


def test_the_tensorboard_of_a_run_is_told_with_the_way_to_it() -> None:
    served = make_trainjob().storage("s3://b").tracking(tensorboard={"serve": True}).obj()
    text = printed(describe(Seen(served, (), (), NOW)), 140)
    assert "kubectl port-forward -n ml service/digits-tensorboard 6006" in text
