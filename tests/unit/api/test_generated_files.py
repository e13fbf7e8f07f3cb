"""What is checked in is what the models say; the schema is bounded throughout."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import paceline.api
from paceline.api import TrainJobSpec, crd, reasons
from paceline.api.rules import MUTABLE, RULES
from paceline.api.schema import trainjob_schema

ROOT = Path(__file__).parents[3]
FREE_FORM = "x-kubernetes-preserve-unknown-fields"


@pytest.mark.parametrize("name", [crd.CRD_FILE, crd.CHART_FILE, crd.KUSTOMIZE_FILE, crd.REFERENCE_FILE])
def test_a_generated_file_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text() == crd.generated()[name], "run: python -m paceline.api.crd --write"


def test_check_names_the_file_that_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crd.main(["--write", "--root", str(tmp_path)]) == 0
    assert crd.main(["--check", "--root", str(tmp_path)]) == 0
    (tmp_path / crd.CHART_FILE).write_text("old")
    assert crd.main(["--check", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"{crd.CHART_FILE} differs from the models: run python -m paceline.api.crd --write\n"
    )


def test_every_list_map_and_text_is_bounded_and_described() -> None:
    problems = [problem for path, node in nodes("", trainjob_schema()) for problem in flaws(path, node)]
    assert problems == []


def test_the_schema_is_structural() -> None:
    words = {key for _, node in nodes("", trainjob_schema()) for key in node}
    assert not words & {"$ref", "anyOf", "allOf", "oneOf", "title", "const", "nullable", "readOnly"}


def test_every_rule_sits_at_a_field_of_the_schema() -> None:
    assert set(RULES) <= {path for path, _ in nodes("", trainjob_schema())}


def test_each_sentence_tells_a_way_out() -> None:
    ways = re.compile(
        r"\b(write|use|set|remove|choose|make|give|mount|shorten|begin|leave|delete|known are)\b", re.IGNORECASE
    )
    sentences = [
        rule["message"] for _, node in nodes("", trainjob_schema()) for rule in node.get("x-kubernetes-validations", [])
    ]
    assert [sentence for sentence in sentences if not ways.search(sentence)] == []


def test_the_description_of_the_spec_names_the_mutable_fields() -> None:
    assert TrainJobSpec.__doc__ is not None
    assert all(f"`{field}`" in TrainJobSpec.__doc__ for field in MUTABLE)


def test_all_is_true() -> None:
    assert all(hasattr(paceline.api, name) for name in paceline.api.__all__)
    public = {
        name
        for name, value in vars(paceline.api).items()
        if getattr(value, "__module__", "").startswith("paceline.api.")
    }
    assert public == set(paceline.api.__all__)


def test_reasons_are_pascal_case_and_complete() -> None:
    constants = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    assert constants == reasons.REASONS | set(reasons.CONDITION_TYPES)
    assert all(re.fullmatch("[A-Z][A-Za-z]+", value) for value in constants)


def nodes(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(f"{path}.{name}".lstrip("."), child)
    if "items" in schema:
        yield from nodes(f"{path}[]", schema["items"])
    if "additionalProperties" in schema:
        yield from nodes(f"{path}{{}}", schema["additionalProperties"])


def flaws(path: str, node: dict[str, Any]) -> Iterator[str]:
    if path in ("apiVersion", "kind", "metadata"):
        return
    match node.get("type"):
        case "array" if "maxItems" not in node:
            yield f"{path}: no maxItems"
        case "object" if "additionalProperties" in node and "maxProperties" not in node:
            yield f"{path}: no maxProperties"
        case "string" if not {"maxLength", "enum", "format"} & node.keys():
            yield f"{path}: no maxLength"
    if not path.endswith(("[]", "{}")) and "description" not in node:
        yield f"{path}: no description"
