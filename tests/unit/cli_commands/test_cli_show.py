"""`get` and `describe` as a user calls them."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.support.cli_objects import ERROR, condition, event, job_body, pod
from tests.support.kube_api import KubeApi
from tests.unit.cli_commands.conftest import Paceline

RUNNING = job_body(phase="Running", workers={"desired": 4, "running": 4}, progress={"step": 3})


def test_get_lists_the_jobs_of_the_namespace(api: KubeApi, paceline: Paceline) -> None:
    api.put(RUNNING)
    api.put(job_body("other"), namespace="elsewhere")
    ran = paceline("get")
    assert ran.code == 0
    assert "digits" in ran.out
    assert "other" not in ran.out


def test_get_lists_all_namespaces(api: KubeApi, paceline: Paceline) -> None:
    api.put(RUNNING)
    api.put(job_body("other"), namespace="elsewhere")
    out = paceline("get", "-A").out
    assert out.splitlines()[0].startswith("NAMESPACE")
    assert "elsewhere" in out


def test_get_of_nothing_says_so_beside_the_output(paceline: Paceline) -> None:
    ran = paceline("get", "-n", "ml")
    assert (ran.code, ran.out, ran.err) == (0, "", "no TrainJobs in namespace ml\n")


def test_json_and_yaml_are_the_object_without_managed_fields(api: KubeApi, paceline: Paceline) -> None:
    api.put({**RUNNING, "metadata": {**RUNNING["metadata"], "managedFields": [{}]}})
    as_json = json.loads(paceline("get", "digits", "-o", "json").out)
    assert as_json["status"]["phase"] == "Running"
    assert "managedFields" not in as_json["metadata"]
    assert yaml.safe_load(paceline("get", "digits", "-o", "yaml").out) == as_json
    assert json.loads(paceline("get", "-o", "json").out)["items"] == [as_json]


def test_name_is_what_kubectl_takes(api: KubeApi, paceline: Paceline) -> None:
    api.put(RUNNING)
    assert paceline("get", "-o", "name").out == "trainjob.paceline.dev/digits\n"


def test_an_unknown_job_is_code_3(paceline: Paceline) -> None:
    ran = paceline("get", "nothing")
    assert ran.code == 3
    assert "no TrainJob 'nothing' in namespace 'default'" in ran.err


def test_describe_has_all_parts(api: KubeApi, paceline: Paceline) -> None:
    failed = condition("Failed", "True", "MaxRestartsReached", "rank 3 exited 1")
    api.put(job_body(phase="Failed", conditions=[failed], result={"error": ERROR, "metrics": {"accuracy": 0.5}}))
    api.pods = [pod(0, 1, state={"running": {}})]
    api.events = [event("PodsCreated", "created 2 pods"), event("Foreign", "not ours", job="digits-2")]
    ran = paceline("describe", "digits", program="kubectl-paceline")
    assert ran.code == 0
    for part in ("digits-0-1", "created 2 pods", "loss is nan", "accuracy", "kubectl paceline logs digits --rank 3"):
        assert part in ran.out
    assert "not ours" not in ran.out


def test_a_job_of_a_newer_operator_is_still_readable(api: KubeApi, paceline: Paceline) -> None:
    newer = job_body(phase="Running", elasticity={"now": 3})
    newer["spec"]["elastic"] = {"min": 2}
    api.put(newer)
    assert paceline("describe", "digits").code == 0


def test_flags_may_stand_before_the_command(api: KubeApi, paceline: Paceline) -> None:
    api.put(RUNNING, namespace="ml")
    assert "digits" in paceline("-n", "ml", "--context=here", "get").out


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["get", "a", "-A"], "-n instead of -A"),
        (["get", "-w", "-o", "json"], "--watch"),
        (["logs", "a", "--all", "--rank", "1"], "--all"),
        (["wait", "a", "--timeout", "soon"], "1h30m"),
        (["get", "--no-such"], "No such option"),
        (["submit", "/nonexistent.yaml"], "cannot read"),
    ],
)
def test_wrong_usage_is_code_2(paceline: Paceline, args: list[str], told: str) -> None:
    ran = paceline(*args)
    assert ran.code == 2
    assert told in ran.err
    assert "Traceback" not in ran.err


def test_help_names_the_program_as_it_was_called(paceline: Paceline) -> None:
    assert "kubectl paceline get" in paceline("get", "--help", program="kubectl-paceline").out
    assert "Exit codes" in paceline("--help").out
