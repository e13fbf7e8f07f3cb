"""What the schema cannot see: the inside of the pod template, mounts, accelerators."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.api import TrainJobSpec, check, warnings
from paceline.api.problems import below
from tests.support.trainjobs import TrainJobBuilder, make_trainjob


def worker(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "worker", **fields}]}


def mounted(path: str) -> dict[str, Any]:
    return worker(volumeMounts=[{"name": "data", "mountPath": path}])


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(make_trainjob(), id="the smallest"),
        pytest.param(make_trainjob().pod_template({"tolerations": [{"operator": "Exists"}]}), id="a toleration"),
        pytest.param(
            make_trainjob().pod_template({"containers": [{"name": "sidecar", "image": "x"}]}), id="a second container"
        ),
        pytest.param(make_trainjob().pod_template(worker(env=[{"name": "A", "value": "1"}])), id="a variable"),
        pytest.param(
            make_trainjob().workers(2).storage("/data/runs").pod_template(mounted("/data")), id="a path on a mount"
        ),
        pytest.param(make_trainjob().workers(2).storage("/a/b").volume("c", "/a/"), id="a path on the volume"),
        pytest.param(make_trainjob().storage("/tmp/runs"), id="one pod, its own path"),
        pytest.param(make_trainjob().workers(2).storage("s3://b/p"), id="S3"),
        pytest.param(make_trainjob().pod_template(mounted("/paceline-data")), id="a mount beside the agent"),
        pytest.param(make_trainjob().pod_template(worker(env=[{"name": "TF_CONFIG"}])), id="TF_CONFIG elsewhere"),
    ],
)
def test_a_good_spec_has_no_problem(job: TrainJobBuilder) -> None:
    assert check(job.obj().spec) == []


@pytest.mark.parametrize("gang", ["Auto", "PodGroup", "None"])
def test_a_group_of_ones_own_and_one_of_ours_exclude_each_other(gang: str) -> None:
    own = make_trainjob().workers(2).pod_template({"schedulingGroup": {"podGroupName": "mine"}}).scheduling(gang=gang)
    found = [(problem.field, '"None" in spec.scheduling.gang' in problem.message) for problem in check(own.obj().spec)]
    assert found == ([("spec.podTemplate.spec.schedulingGroup", True)] if gang == "PodGroup" else [])


SPEC = "spec.podTemplate.spec"


@pytest.mark.parametrize(
    ("pod", "field", "says"),
    [
        pytest.param({"restartPolicy": "Always"}, f"{SPEC}.restartPolicy", "'Always'", id="restart policy"),
        pytest.param({"setHostnameAsFQDN": True}, f"{SPEC}.setHostnameAsFQDN", "remove it", id="host name"),
        pytest.param({"tolerations": {"a": 1}}, f"{SPEC}.tolerations", "write a list", id="no list"),
        pytest.param({"containers": ["worker"]}, f"{SPEC}.containers", "write a list of objects", id="no objects"),
        pytest.param({"nodeSelector": ["ssd"]}, f"{SPEC}.nodeSelector", "write an object", id="no object"),
        pytest.param({"volumes": [{"emptyDir": {}}]}, f"{SPEC}.volumes[0].name", "give it a name", id="no name"),
        pytest.param(
            {"volumes": [{"name": "a"}, {"name": "a"}]}, f"{SPEC}.volumes[1].name", "there twice", id="name twice"
        ),
        pytest.param(worker(image="x"), f"{SPEC}.containers[0].image", "spec.image instead", id="image"),
        pytest.param(worker(command=["x"]), f"{SPEC}.containers[0].command", "spec.command instead", id="command"),
        pytest.param(
            worker(env=[{"name": "RANK"}]), f"{SPEC}.containers[0].env[0].name", "'RANK' is set by Paceline", id="rank"
        ),
        pytest.param(
            {"initContainers": [{"name": "paceline-inject"}]},
            f"{SPEC}.initContainers[0].name",
            "choose another name",
            id="the agent's container",
        ),
        pytest.param(
            {"volumes": [{"name": "paceline"}]}, f"{SPEC}.volumes[0].name", "choose another name", id="agent's volume"
        ),
        pytest.param(
            mounted("/paceline/core"),
            f"{SPEC}.containers[0].volumeMounts[0].mountPath",
            "would hide the agent",
            id="over the agent",
        ),
    ],
)
def test_a_bad_pod_template_is_a_problem_with_a_way_out(pod: dict[str, Any], field: str, says: str) -> None:
    (problem,) = check(make_trainjob().pod_template(pod).obj().spec)
    assert problem.field == field
    assert says in problem.message
    assert str(problem) == f"{field}: {problem.message}"


def test_tf_config_in_the_pod_template_is_refused_for_tensorflow() -> None:
    job = make_trainjob().framework("tensorflow").pod_template(worker(env=[{"name": "TF_CONFIG"}]))
    assert "'TF_CONFIG' is set by Paceline" in check(job.obj().spec)[0].message


def test_a_path_that_two_pods_do_not_share_is_a_problem_though_the_pod_template_may_hide_it() -> None:
    job = make_trainjob().workers(4).per_pod(2).storage("/data/runs").pod_template(mounted("/database"))
    (problem,) = check(job.obj().spec)
    assert problem.field == "spec.storage.path"
    assert "on no volume that the 2 pods share" in problem.message


@pytest.mark.parametrize(
    ("known", "problems"),
    [
        pytest.param(None, 0, id="the CLI does not know"),
        pytest.param({"A100", "H100"}, 0, id="known"),
        pytest.param({"H100", "L4"}, 1, id="another"),
        pytest.param(set(), 1, id="none"),
    ],
)
def test_an_accelerator_has_to_be_known_to_the_operator(known: set[str] | None, problems: int) -> None:
    found = check(make_trainjob().accelerator("A100").obj().spec, accelerators=known)
    assert len(found) == problems
    assert all("'A100' is not known" in problem.message for problem in found)


@pytest.mark.parametrize(
    ("path", "directory", "inside"),
    [("/a", "/a", True), ("/a/b", "/a/", True), ("/ab", "/a", False), ("/a", "/a/b", False), ("/a", "/", True)],
)
def test_below_compares_whole_names(path: str, directory: str, inside: bool) -> None:
    assert below(path, directory) is inside


@pytest.mark.parametrize(
    ("rules", "shadowed"),
    [
        pytest.param([({2}, ()), ({3}, ())], {}, id="apart"),
        pytest.param([({2, 3}, ()), ({3}, ())], {1: 0}, id="a part of the first"),
        pytest.param([({3}, ()), ({2, 3}, ())], {}, id="more than the first"),
        pytest.param([((), {"OOMKilled"}), ({137}, {"OOMKilled"})], {1: 0}, id="narrower by a code"),
        pytest.param([({137}, {"OOMKilled"}), ((), {"OOMKilled"})], {}, id="wider"),
        pytest.param([({1}, ()), ((), {"WorkerFailed"})], {}, id="another kind"),
        pytest.param([({1}, ()), ({2}, ()), ({2}, {"PodFailed"}), ({1}, ())], {2: 1, 3: 0}, id="two"),
    ],
)
def test_a_rule_that_never_decides_is_worth_a_warning(rules: list[Any], shadowed: dict[int, int]) -> None:
    policy = {"rules": [{"exitCodes": sorted(c), "reasons": sorted(r), "action": "Fail"} for c, r in rules]}
    spec = TrainJobSpec.model_validate({"image": "i", "command": ["c"], "failurePolicy": policy})
    assert check(spec) == []
    found = {problem.field: problem.message for problem in warnings(spec)}
    assert list(found) == [f"spec.failurePolicy.rules[{later}]" for later in shadowed]
    assert all(f"rules[{shadowed[int(field[-2])]}] matches all" in message for field, message in found.items())
