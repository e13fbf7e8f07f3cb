from __future__ import annotations

import json

import pytest

from paceline.api import TrackingRun
from paceline_operator.policies import reports, tracking
from paceline_operator.policies.observed import TrackingProblem
from tests.support.pods import termination

FIRST = TrackingRun(kind="wandb", run_id="a", url="https://wandb.ai/t/p/runs/a")
SECOND = TrackingRun(kind="mlflow", run_id="b", path="/mnt/mlflow")


@pytest.mark.parametrize(
    ("known", "told", "merged"),
    [
        pytest.param([], [], [], id="none"),
        pytest.param([FIRST], [], [FIRST], id="a new attempt has told nothing yet"),
        pytest.param([FIRST], [SECOND], [FIRST, SECOND], id="another one"),
        pytest.param(
            [TrackingRun(kind="wandb", run_id="a"), SECOND], [FIRST], [FIRST, SECOND], id="newer words keep the place"
        ),
    ],
)
def test_runs_of_all_attempts_are_kept(
    known: list[TrackingRun], told: list[TrackingRun], merged: list[TrackingRun]
) -> None:
    assert tracking.merged(known, told) == merged


def test_the_newest_eight_are_kept() -> None:
    runs = [TrackingRun(kind="wandb", run_id=str(number)) for number in range(10)]
    assert tracking.merged(runs[:6], runs[6:]) == runs[2:]


def test_runs_and_warning_are_read_from_the_agent() -> None:
    problem = {"kind": "wandb", "reason": "Unreachable", "message": "no answer"}
    runs = [FIRST.model_dump(by_alias=True), {"runId": "no kind"}, "x", SECOND.model_dump(by_alias=True)]
    read = reports.read(json.dumps({"version": 1, "tracking": runs, "trackingProblem": problem}))
    assert read is not None
    assert read.tracking == (FIRST, SECOND)
    assert read.tracking_problem == TrackingProblem("wandb", "TrackerUnreachable", "no answer")


@pytest.mark.parametrize(
    ("told", "read"),
    [
        pytest.param(None, None, id="none"),
        pytest.param({}, None, id="empty"),
        pytest.param("broken", None, id="a text"),
        pytest.param(
            {"reason": "no such\nreason", "message": 3},
            TrackingProblem("tracking", "TrackerUnreachable", "no reason given"),
            id="what a condition cannot hold",
        ),
        pytest.param(
            {"kind": "comet", "reason": "MissingCredentials", "message": "refused"},
            TrackingProblem("comet", "MissingCredentials", "refused"),
            id="no key",
        ),
    ],
)
def test_a_warning_that_does_not_fit_breaks_nothing(told: object, read: TrackingProblem | None) -> None:
    found = reports.read(termination(tracking="x", trackingProblem=told))
    assert found is not None
    assert (found.tracking, found.tracking_problem) == ((), read)
