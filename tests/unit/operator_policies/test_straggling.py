from __future__ import annotations

import json

import pytest

from paceline.api import Condition
from paceline_operator.policies import reports
from paceline_operator.policies.observed import AgentReport, Straggler
from paceline_operator.policies.straggling import Begins, Ends, decide
from tests.support.pods import T0, pod

PODS = [pod(0).running("node-0").obj(), pod(1).running("node-1").obj()]
WHO = "rank 3 in pod digits-0-1 on node node-1"
BEHIND = f"{WHO} reports 2.5 s after the median rank, and the others wait for it"


def condition(status: str, message: str) -> Condition:
    return Condition.model_validate(
        {"type": "Straggling", "status": status, "reason": "X", "message": message, "lastTransitionTime": T0}
    )


@pytest.mark.parametrize(
    ("known", "straggler", "news"),
    [
        pytest.param(None, None, None, id="never any"),
        pytest.param(None, Straggler(3, 2.5), Begins(BEHIND), id="begins"),
        pytest.param(condition("True", BEHIND), Straggler(3, 9.9), None, id="other seconds are no news"),
        pytest.param(
            condition("True", BEHIND),
            Straggler(0, 1.0),
            Begins("rank 0 in pod digits-0-0 on node node-0 reports 1 s after the median rank, and the others wait"
                   " for it"),
            id="another rank",
        ),
        pytest.param(condition("True", BEHIND), None, Ends(f"{WHO} has caught up"), id="ends"),
        pytest.param(condition("False", f"{WHO} has caught up"), None, None, id="has ended"),
        pytest.param(condition("False", f"{WHO} has caught up"), Straggler(3, 2.5), Begins(BEHIND), id="once more"),
    ],
)  # fmt: skip
def test_what_is_news(known: Condition | None, straggler: Straggler | None, news: Begins | Ends | None) -> None:
    assert decide(known, AgentReport(straggler=straggler), PODS, 2) == news


def test_an_unknown_lead_changes_nothing_and_a_pod_that_is_gone_is_not_named() -> None:
    assert decide(condition("True", BEHIND), None, PODS, 2) is None
    assert decide(None, AgentReport(straggler=Straggler(7, 2)), PODS, 2) == Begins(
        "rank 7 reports 2 s after the median rank, and the others wait for it"
    )


@pytest.mark.parametrize(
    ("told", "straggler"),
    [
        pytest.param({"rank": 3, "behindSeconds": 2.5}, Straggler(3, 2.5), id="one"),
        pytest.param(None, None, id="none"),
        pytest.param({"rank": 3}, None, id="no seconds"),
        pytest.param({"rank": -1, "behindSeconds": 2}, None, id="no rank"),
        pytest.param({"rank": 3, "behindSeconds": True}, None, id="no number"),
    ],
)
def test_what_the_agent_tells(told: object, straggler: Straggler | None) -> None:
    report = reports.read(json.dumps({"version": 1, "straggler": told}))
    assert report is not None
    assert report.straggler == straggler
