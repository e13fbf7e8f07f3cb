"""The models and the CRD say the same: what one fills in or keeps, the other does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import Bed
from paceline.api import TrainJob, TrainJobSpec, TrainJobStatus
from paceline.api.schema import trainjob_schema
from tests.contract.test_docs_manifests import WITH_YAML, kind_of, spec_of
from tests.support.apiserver import merged, send
from tests.support.docs import EXAMPLES
from tests.support.trainjobs import TrainJobBuilder, make_trainjob

NAMESPACE = "models"
JOBS = f"/apis/paceline.dev/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
FULL: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "bad_manifests/full.yaml").read_text())
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone.utc)
CHECKPOINT = {"path": "s3://b/d/checkpoint_000012", "index": 12, "step": 1100, "time": NOW, "attempt": 1}

STATUS = TrainJobStatus.model_validate(
    {
        "phase": "Failed",
        "conditions": [
            {
                "type": "Failed",
                "status": "True",
                "observedGeneration": 1,
                "lastTransitionTime": NOW,
                "reason": "MaxRestartsReached",
                "message": "x" * 5000,
            }
        ],
        "observedGeneration": 1,
        "attempt": 2,
        "restarts": 1,
        "nextAttemptTime": NOW,
        "startTime": NOW,
        "runningTime": NOW,
        "suspendedSeconds": 60,
        "completionTime": NOW,
        "workers": {"desired": 4, "scheduled": 4, "running": 2, "succeeded": 1, "failed": 1},
        "progress": {"step": 1200, "metrics": {"loss": 0.31, "bad": float("nan")}, "time": NOW, "slowestRank": 3},
        "checkpoint": CHECKPOINT,
        "bestCheckpoint": {**CHECKPOINT, "metrics": {"accuracy": 1, "name": "x" * 1000, "list": [1]}},
        "uploads": {"pendingCheckpoints": 1, "pendingBytes": 3_000_000_000, "waitSeconds": 1.5},
        "result": {
            "path": "s3://b/d",
            "metrics": {"ok": True},
            "error": {"rank": 3, "type": "ValueError", "message": "m", "traceback": "t" * 9000, "exitCode": 1},
        },
        "history": [
            {
                "attempt": number,
                "time": NOW,
                "cause": "NodeLost",
                "rank": 2,
                "pod": "digits-1-2",
                "node": "n",
                "exitCode": 137,
                "message": "last lines",
                "resumedFrom": 11,
                "lostSteps": 100,
                "downtimeSeconds": 4.2,
            }
            for number in range(30)
        ],
    }
)


@pytest.fixture(scope="module")
def jobs(crd_server: Bed) -> Bed:
    crd_server.kubectl("create", "namespace", NAMESPACE, check=False)
    return crd_server


@pytest.fixture
def create(jobs: Bed) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def create(body: dict[str, Any]) -> dict[str, Any]:
        answer = send(jobs, "POST", f"{JOBS}?fieldValidation=Strict&dryRun=All", body)
        assert answer.status == 201, answer.message
        return answer.body

    return create


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(make_trainjob(namespace=NAMESPACE).body(), id="the smallest"),
        pytest.param(make_trainjob(namespace=NAMESPACE).workers(4).max_restarts(0).body(), id="objects half filled"),
        pytest.param(make_trainjob(namespace=NAMESPACE).checkpoints(keep=1).scheduling().body(), id="empty objects"),
        pytest.param(FULL, id="every field"),
    ],
)
def test_the_api_server_fills_in_what_the_models_fill_in(
    create: Callable[[dict[str, Any]], dict[str, Any]], body: dict[str, Any]
) -> None:
    stored = create(body)
    sent, seen = TrainJob.from_body(body), TrainJob.from_body(stored)
    assert seen.spec == sent.spec
    assert with_quantities_as_text(without_empty(stored["spec"])) == sent.to_body()["spec"]
    assert with_quantities_as_text(create(sent.to_body())["spec"]) == sent.to_body()["spec"]


@pytest.mark.parametrize(
    "spec",
    [
        *(pytest.param(spec_of(block), id=block.id) for block in WITH_YAML if kind_of(block) == "fragment"),
        *(
            pytest.param(found["spec"], id=str(file.relative_to(EXAMPLES)))
            for file in sorted(EXAMPLES.rglob("*.yaml"))
            for found in yaml.safe_load_all(file.read_text())
            if found["kind"] == "TrainJob"
        ),
    ],
)
def test_the_api_server_takes_what_the_documentation_shows(
    create: Callable[[dict[str, Any]], dict[str, Any]], spec: dict[str, Any]
) -> None:
    create({**make_trainjob(namespace=NAMESPACE).body(), "spec": spec})


def test_the_full_manifest_sets_every_field_of_the_schema() -> None:
    missing = list(unset(FULL["spec"], trainjob_schema()["properties"]["spec"], "spec"))
    owned = [f"spec.podTemplate.spec.{name}" for name in ("restartPolicy", "hostname", "subdomain")]
    # A Secret is for a store, and the path is on a volume.
    assert missing == [*owned, "spec.storage.secretRef"]


def test_a_status_is_stored_as_the_models_write_it(jobs: Bed) -> None:
    job = make_trainjob("stored", NAMESPACE)
    try:
        assert send(jobs, "POST", JOBS, job.body()).status == 201
        path = f"{JOBS}/stored/status?fieldValidation=Strict"
        answer = send(jobs, "PATCH", path, {"status": STATUS.to_body()}, "application/merge-patch+json")
        assert (answer.status, answer.warnings) == (200, ()), answer.message
        assert answer.body["status"] == STATUS.to_body()
        assert TrainJob.from_body(answer.body).status == STATUS
    finally:
        send(jobs, "DELETE", f"{JOBS}/stored")


MUTABLE = {
    "suspend": True,
    "activeDeadlineSeconds": 10,
    "ttlSecondsAfterFinished": 10,
    "cleanPodPolicy": "All",
    "failurePolicy": {
        "maxRestarts": 9,
        "maxPreemptions": 2,
        "stallTimeoutSeconds": 60,
        "startTimeoutSeconds": 60,
        "backoffSeconds": {"initial": 2, "max": 20},
    },
}
FIXED = {
    "framework": "torch",
    "image": "train:2",
    "imagePullPolicy": "Always",
    "command": ["python", "other.py"],
    "args": ["--fast"],
    "env": [{"name": "A", "value": "2"}],
    "envFrom": [{"secretRef": {"name": "s"}}],
    "workers": {"count": 8},
    "podTemplate": {"spec": {"nodeSelector": {"disk": "ssd"}}},
    "storage": {"path": "s3://other/place"},
    "credentials": [{"secretRef": {"name": "s"}}],
    "tracking": {"wandb": {}},
    "checkpoints": {"keep": 7},
    "artifacts": {"sync": True},
    "scheduling": {"priorityClassName": "high"},
    "agent": {"inject": False},
}


def test_every_field_of_the_spec_is_known_to_be_fixed_or_mutable() -> None:
    assert {field.alias for field in TrainJobSpec.model_fields.values()} == FIXED.keys() | MUTABLE.keys()


@pytest.fixture(scope="module")
def stored(jobs: Bed) -> TrainJobBuilder:
    builder = make_trainjob("fixed", NAMESPACE).pod_template({"nodeSelector": {"disk": "hdd"}}).env(A="1")
    builder = builder.storage("s3://bucket/place").checkpoints(keep=2)
    send(jobs, "DELETE", f"{JOBS}/fixed")
    assert send(jobs, "POST", JOBS, builder.body()).status == 201
    return builder


def update(bed: Bed, patch: dict[str, Any]) -> Any:
    return send(bed, "PATCH", f"{JOBS}/fixed?dryRun=All", {"spec": patch}, "application/merge-patch+json")


@pytest.mark.parametrize("field", FIXED)
def test_a_field_that_shapes_the_pods_is_fixed_at_creation(jobs: Bed, stored: TrainJobBuilder, field: str) -> None:
    answer = update(jobs, {field: FIXED[field]})
    assert answer.status == 422, answer.body
    assert f"spec.{field} is fixed at creation: delete the TrainJob and create it anew" in answer.message


@pytest.mark.parametrize("field", ["env", "podTemplate", "storage", "checkpoints"])
def test_a_fixed_field_cannot_be_removed(jobs: Bed, stored: TrainJobBuilder, field: str) -> None:
    assert f"spec.{field} is fixed at creation" in update(jobs, {field: None}).message


@pytest.mark.parametrize("field", MUTABLE)
def test_a_field_that_does_not_shape_the_pods_can_change(jobs: Bed, stored: TrainJobBuilder, field: str) -> None:
    answer = update(jobs, {field: MUTABLE[field]})
    assert answer.status == 200, answer.message
    assert answer.body["spec"][field] == MUTABLE[field]


def test_the_same_manifest_can_be_applied_again(jobs: Bed, stored: TrainJobBuilder) -> None:
    answer = update(jobs, stored.body()["spec"])
    assert answer.status == 200, answer.message


def without_empty(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    items = {key: without_empty(item) for key, item in value.items()}
    return {key: item for key, item in items.items() if item not in ({}, [], "")}


def with_quantities_as_text(spec: dict[str, Any]) -> dict[str, Any]:
    """An integer is stored as it was sent; the models keep it as text."""
    resources = spec.get("workers", {}).get("resources", {})
    as_text = {key: str(resources[key]) for key in ("cpu", "memory") if key in resources}
    return dict(merged(spec, {"workers": {"resources": as_text}}))


def unset(value: Any, schema: dict[str, Any], path: str) -> Any:
    for name, child in schema.get("properties", {}).items():
        if not any(isinstance(one, dict) and name in one for one in (value if isinstance(value, list) else [value])):
            yield f"{path}.{name}"
            continue
        below = [one[name] for one in (value if isinstance(value, list) else [value]) if name in one]
        if child.get("type") == "array":
            yield from unset([item for items in below for item in items], child["items"], f"{path}.{name}[]")
        else:
            yield from unset(below, child, f"{path}.{name}")
