"""When a wait is over, and what is said on the way."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.cli import progress
from paceline.cli.verdict import Goal, decide
from tests.support.cli_objects import CHECKPOINT, ERROR, NOW, condition, job, printed

RUNNING: dict[str, Any] = {"phase": "Running"}
SUCCEEDED: dict[str, Any] = {"phase": "Succeeded"}
FAILED: dict[str, Any] = {"phase": "Failed"}


@pytest.mark.parametrize(
    ("status", "goal", "code"),
    [
        pytest.param({}, Goal.SUCCEEDED, None, id="nothing yet"),
        pytest.param(RUNNING, Goal.SUCCEEDED, None, id="runs"),
        pytest.param(SUCCEEDED, Goal.SUCCEEDED, 0, id="succeeded"),
        pytest.param(FAILED, Goal.SUCCEEDED, 1, id="failed"),
        pytest.param({"phase": "Suspended"}, Goal.SUCCEEDED, None, id="suspended: may be resumed"),
        pytest.param({"phase": "Restarting"}, Goal.RUNNING, None, id="restarts"),
        pytest.param(RUNNING, Goal.RUNNING, 0, id="runs now"),
        pytest.param(SUCCEEDED, Goal.RUNNING, 0, id="ran"),
        pytest.param(FAILED, Goal.RUNNING, 1, id="will not run"),
        pytest.param(RUNNING, Goal.CHECKPOINT, None, id="no checkpoint yet"),
        pytest.param(RUNNING | {"checkpoint": CHECKPOINT}, Goal.CHECKPOINT, 0, id="checkpoint"),
        pytest.param(SUCCEEDED, Goal.CHECKPOINT, 1, id="over without a checkpoint"),
        pytest.param(FAILED | {"checkpoint": CHECKPOINT}, Goal.CHECKPOINT, 0, id="failed after a checkpoint"),
    ],
)  # fmt: skip
def test_the_wait_ends(status: dict[str, Any], goal: Goal, code: int | None) -> None:
    verdict = decide(job(**status), goal)
    assert (verdict.exit_code if verdict else None) == code


def test_a_failure_is_told_with_reason_error_and_advice() -> None:
    failed = job(
        phase="Failed", conditions=[condition("Failed", "True", "MaxRestartsReached", "rank 3 exited 1")],
        result={"error": ERROR},
    )  # fmt: skip
    verdict = decide(failed, Goal.SUCCEEDED)
    assert verdict
    told = printed(progress.ending(failed, verdict, "paceline"))
    for part in (
        "MaxRestartsReached: rank 3 exited 1",
        "rank 3: ValueError: loss is nan",
        "paceline logs digits --rank 3",
    ):
        assert part in told


def test_the_line_has_what_moves() -> None:
    running = job(
        phase="Running", attempt=1, restarts=1, checkpoint=CHECKPOINT,
        workers={"desired": 4, "running": 4}, progress={"step": 180, "metrics": {"loss": 0.5}},
    )  # fmt: skip
    assert progress.line(running).plain == (
        "digits  Running  workers 4/4  attempt 1 (1 restarts)  step 180  loss=0.5  checkpoint 7"
    )


def test_a_step_is_no_milestone_and_a_checkpoint_is() -> None:
    first = job(phase="Running", progress={"step": 1})
    later = job(phase="Running", progress={"step": 2})
    saved = job(phase="Running", progress={"step": 2}, checkpoint=CHECKPOINT)
    assert progress.milestone(first) == progress.milestone(later) != progress.milestone(saved)


def test_what_keeps_a_job_from_running_is_told_with_a_way_out() -> None:
    stuck = job(phase="Scheduling", conditions=[condition("Scheduled", "False", "Unschedulable", "0/3 nodes")])
    told = printed(progress.live(stuck, NOW, "paceline"))
    assert "Unschedulable: 0/3 nodes" in told
    assert "ask for less" in told
    assert progress.hindrance(stuck) == "Unschedulable: 0/3 nodes"


def test_a_job_that_runs_is_hindered_by_nothing() -> None:
    running = job(phase="Running", conditions=[condition("Scheduled", "False", "Unschedulable", "0/3 nodes")])
    assert progress.hindrance(running) == ""
