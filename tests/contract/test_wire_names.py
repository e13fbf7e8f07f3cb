"""Both sides of the wire use the same names."""

from __future__ import annotations

import pytest

from paceline import _contract as sdk
from paceline import _trackers
from paceline.agent.config import AgentConfig
from paceline_operator import contract as operator
from paceline_operator.policies.config import JobDefaults
from paceline_operator.resources import env
from tests.support.trainjobs import make_trainjob

ENV = [
    name
    for name, value in vars(operator).items()
    if isinstance(value, str) and value.startswith("PACELINE_") and not name.startswith("_")
]


@pytest.mark.parametrize(
    "name", [*ENV, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK"]
)
def test_environment_variables_have_one_name(name: str) -> None:
    assert getattr(sdk, name) == getattr(operator, name)


def test_the_other_names_agree() -> None:
    assert sdk.AGENT_HTTP_PORT == operator.AGENT_PORT
    assert sdk.MASTER_PORT == operator.MASTER_PORT_ENV
    assert sdk.DEFAULT_MASTER_PORT == operator.MASTER_PORT
    assert sdk.TF_CONFIG == operator.TF_CONFIG
    assert sdk.REASON_STORAGE == operator.AGENT_STORAGE_ERROR
    assert sdk.REASON_CONFIG == operator.AGENT_INVALID_CONFIG
    assert sdk.REASON_COMMAND == operator.AGENT_COMMAND_NOT_STARTED
    assert sdk.REASON_CREDENTIALS == operator.AGENT_MISSING_CREDENTIALS


def test_an_agent_finds_the_attempt_before_by_the_names_that_the_operator_gives() -> None:
    environ = {
        sdk.JOB: "digits",
        sdk.ATTEMPT: "3",
        sdk.LEAD: f"{operator.pod_address('digits', 3, 0)}:{operator.AGENT_PORT}",
        sdk.AGENT_DIR: "/tmp/agent",
    }
    before = AgentConfig.from_env(["python"], environ).previous_lead
    assert before == (operator.pod_address("digits", 2, 0), operator.AGENT_PORT)


def test_the_libraries_variables_for_what_a_job_tracks_are_the_same_on_a_cluster_and_here() -> None:
    """The operator may not import what the SDK has for it."""
    tracking = {
        "wandb": {"project": "p", "entity": "team", "mode": "offline"},
        "mlflow": {"trackingUri": "http://mlflow:5000", "experiment": "e"},
        "comet": {"project": "c", "workspace": "w"},
    }
    job = make_trainjob().tracking(**tracking).obj()
    there = env.defaults(job, JobDefaults())
    here = _trackers.variables(tracking)
    assert len(here) == 7
    assert {name: value for name, value in there.items() if name.split("_")[0] in ("WANDB", "MLFLOW", "COMET")} == here
