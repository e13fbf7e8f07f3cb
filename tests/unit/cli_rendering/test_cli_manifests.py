"""A wrong manifest is told with field, value and way out, before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from paceline.cli.manifests import read
from paceline.client.errors import UsageError
from tests.support.trainjobs import make_trainjob


def source(**changes: Any) -> str:
    body = make_trainjob().body()
    body["spec"] |= changes
    return yaml.safe_dump(body)


def test_a_good_manifest_is_returned_as_it_was_written() -> None:
    assert read(source(), "job.yaml") == [make_trainjob().body()]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"framework": "jax"}, ["spec.framework", "'jax'", "'torch'"], id="unknown framework"),
        pytest.param({"worker": {}}, ["spec.worker", "no such field", "workers"], id="misspelt field"),
        pytest.param({"workers": {"cuont": 3}}, ["workers.cuont", "value 3", "count, perPod"], id="misspelt below"),
        pytest.param({"workers": {"count": 0}}, ["spec.workers.count", "is 0", "1"], id="no workers"),
        pytest.param({"workers": {"resources": {"memory": "lots"}}}, ["memory", "'lots'", "16Gi"], id="no quantity"),
        pytest.param({"env": [{"value": "x"}]}, ["spec.env[0].name", "is missing"], id="variable without name"),
        pytest.param({"command": "python"}, ["spec.command", "'python'", "list"], id="text for a list"),
        pytest.param(
            {"podTemplate": {"spec": {"restartPolicy": "Always"}}}, ["restartPolicy", "'Always'", "remove it"],
            id="field of Paceline's",
        ),
        pytest.param(
            {"workers": {"count": 2}, "storage": {"path": "/tmp/x"}}, ["spec.storage.path", "/tmp/x", "volume"],
            id="path on no volume",
        ),
    ],
)  # fmt: skip
def test_each_problem_names_field_value_and_way_out(changes: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        read(source(**changes), "job.yaml")
    assert refused.value.exit_code == 2
    for part in ["job.yaml", *told]:
        assert part in str(refused.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(UsageError) as refused:
        read(source(framework="jax", workers={"count": -1}), "job.yaml")
    assert str(refused.value).count("spec.") == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("a: [", "no valid YAML"),
        ("- a", "is a mapping"),
        ("kind: ConfigMap", "kubectl apply"),
        ("kind: TrainJob\napiVersion: paceline.dev/v1", "paceline.dev/v1alpha1"),
        ("kind: TrainJob\napiVersion: paceline.dev/v1alpha1\nspec: {}", "metadata.name: is missing"),
        ("kind: TrainJob\napiVersion: paceline.dev/v1alpha1\nmetadata: {name: a}", "spec: is missing"),
        ("kind: TrainJob\napiVersion: paceline.dev/v1alpha1\nmetadata: {name: a}\nspecs: {}", "specs: no such field"),
        (yaml.safe_dump(make_trainjob("n" * 51).body()), "51 characters"),
    ],
)
def test_what_is_no_trainjob_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(text, "job.yaml")
    assert told in str(refused.value)
