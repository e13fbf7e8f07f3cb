"""Bad manifests: the real API server refuses each with a sentence, and takes it with the way out that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import Bed
from paceline.api.schema import trainjob_schema
from tests.support.apiserver import Answer, merged, send
from tests.support.trainjobs import make_trainjob

NAMESPACE = "refusals"
JOBS = f"/apis/paceline.dev/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "bad_manifests/cases.yaml").read_text())

every_case = pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])


@pytest.fixture(scope="module")
def jobs(crd_server: Bed) -> Bed:
    crd_server.kubectl("create", "namespace", NAMESPACE, check=False)
    return crd_server


def create(bed: Bed, patch: dict[str, Any], *, dry_run: bool = False) -> Answer:
    body = merged(make_trainjob(namespace=NAMESPACE).body(), patch)
    options = "?fieldValidation=Strict&fieldManager=test" + ("&dryRun=All" if dry_run else "")
    return send(bed, "POST", JOBS + options, body)


@every_case
def test_a_bad_manifest_is_refused_with_a_sentence(jobs: Bed, case: dict[str, Any]) -> None:
    answer = create(jobs, case["bad"])
    left = [job["metadata"]["name"] for job in send(jobs, "GET", JOBS).body["items"]]
    for name in left:
        send(jobs, "DELETE", f"{JOBS}/{name}")
    assert left == []
    assert answer.status in (400, 422), answer.body
    missing = [piece for piece in case["says"] if piece not in answer.message]
    assert not missing, answer.message


@every_case
def test_the_way_out_is_accepted(jobs: Bed, case: dict[str, Any]) -> None:
    answer = create(jobs, case["instead"], dry_run=True)
    assert answer.status == 201, answer.message
    assert answer.warnings == ()


def test_every_rule_has_a_manifest_that_it_refuses(jobs: Bed) -> None:
    said = "\n".join(create(jobs, case["bad"], dry_run=True).message for case in CASES)
    silent = [
        (path, rule["message"])
        for path, rule in rules("", trainjob_schema())
        if "oldSelf" not in rule["rule"] and not re.search(pattern(rule["message"]), said)
    ]
    # The name of an object is one rule in many places; one place of it is enough.
    assert [message for _, message in silent] == []


def test_a_value_of_several_lines_still_gets_a_sentence(jobs: Bed) -> None:
    answer = create(jobs, {"spec": {"storage": {"path": "ftp://\nbucket"}}})
    assert '"<path>" is in no store that is known here' in answer.message


def test_no_answer_repeats_a_secret_that_stands_in_a_path(jobs: Bed) -> None:
    with_secret = [case["bad"] for case in CASES if "canary-secret" in str(case["bad"])]
    assert len(with_secret) >= 4
    said = [create(jobs, bad, dry_run=True) for bad in with_secret]
    assert [answer.status for answer in said] == [422] * len(said)
    assert "canary-secret" not in str([(answer.body, answer.warnings) for answer in said])


def pattern(message: str) -> str:
    return ".*".join(re.escape(text) for text in re.split(r"<[^>]+>", message))


def rules(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for rule in schema.get("x-kubernetes-validations", []):
        yield path, rule
    for name, child in schema.get("properties", {}).items():
        yield from rules(f"{path}.{name}", child)
    if isinstance(items := schema.get("items"), dict):
        yield from rules(f"{path}[]", items)
