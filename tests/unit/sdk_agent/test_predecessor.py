"""Whose last checkpoint is waited for?"""

from __future__ import annotations

from typing import Any

import pytest

from paceline.agent.config import AgentConfig
from paceline.agent.errors import InvalidConfigError
from paceline.agent.predecessor import storing


def status(state: str, *, leaving: bool = False, ends: float | None = 9.0, pending: int = 0) -> dict[str, Any]:
    return {"state": state, "leaving": leaving, "endsInSeconds": ends, "uploads": {"pendingCheckpoints": pending}}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param(status("running", leaving=True), True, id="its processes save now"),
        pytest.param(status("finishing", leaving=True, pending=1), True, id="what they saved is on its way"),
        pytest.param(status("finishing", pending=1), True, id="it failed, and what was reported is on its way"),
        pytest.param(status("running", pending=2, ends=None), False, id="it is not ending: it has been given up"),
        pytest.param(status("running"), False, id="it failed: nobody saves"),
        pytest.param(status("finishing", leaving=True), False, id="nothing is left"),
        pytest.param(status("running", leaving=True, ends=0.0), False, id="its time is over"),
        pytest.param(status("terminated", leaving=True, pending=1), False, id="it is over"),
        pytest.param({}, False, id="another program"),
    ],
)
def test_storing(told: dict[str, Any], expected: bool) -> None:
    assert storing(told) is expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({"PACELINE_ATTEMPT": "2"}, ("digits-1-0.digits", 8470), id="by the names of pods"),
        pytest.param({"PACELINE_ATTEMPT": "0", "PACELINE_LEAD": "digits-0-0.digits:8470"}, None, id="the first one"),
        pytest.param({"PACELINE_ATTEMPT": "2", "PACELINE_LEAD": "10.0.0.1:8470"}, None, id="a lead of another kind"),
        pytest.param({"PACELINE_ATTEMPT": "2", "PACELINE_PREVIOUS_LEAD": "h:1"}, ("h", 1), id="as given"),
    ],
)
def test_where_the_attempt_before_is(environ: dict[str, str], expected: tuple[str, int] | None) -> None:
    told = {"PACELINE_JOB": "digits", "PACELINE_LEAD": "digits-2-0.digits:8470", "PACELINE_AGENT_DIR": "/tmp/x"}
    assert AgentConfig.from_env(["x"], {**told, **environ}).previous_lead == expected


def test_an_address_that_is_none_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidConfigError, match="PACELINE_PREVIOUS_LEAD='h' is not host:port"):
        AgentConfig.from_env(["x"], {"PACELINE_PREVIOUS_LEAD": "h"})
