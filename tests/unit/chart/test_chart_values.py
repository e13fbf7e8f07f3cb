"""values.yaml, its schema and the table in the README say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from charts import manifests
from charts.manifests import CHART

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
TEXT = (CHART / "values.yaml").read_text()
DEFAULTS = yaml.safe_load(TEXT)
# What Kubernetes itself checks: its schema would only be copied here, and be old the next day.
FREE_FORM = {"global", "podSecurityContext", "securityContext", "affinity", "extraEnv[].valueFrom"}


def test_the_defaults_fit_the_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(DEFAULTS, SCHEMA)


def test_every_object_of_the_schema_refuses_unknown_keys() -> None:
    loose = {path for path, node in nodes("", SCHEMA) if is_object(node) and "additionalProperties" not in node}
    assert {path for path in loose if not path.endswith("[]")} == FREE_FORM


def test_every_value_is_described() -> None:
    assert [
        path for path, node in nodes("", SCHEMA) if path[-1:] not in ("", "]", "}") and "description" not in node
    ] == []


def test_schema_and_values_know_the_same_keys_in_the_same_order() -> None:
    assert [key for key in SCHEMA["properties"] if key != "global"] == list(DEFAULTS)
    missing = [value.path for value in manifests.values() if value.default is None]
    assert missing == []


@pytest.mark.parametrize("value", manifests.values(), ids=lambda value: value.path)
def test_the_comment_of_a_value_is_its_description(value: manifests.Value) -> None:
    comments = " ".join(line.strip().lstrip("# ") for line in TEXT.splitlines() if line.strip().startswith("#"))
    assert value.description in comments


def test_the_table_in_the_readme_is_up_to_date() -> None:
    readme = (CHART / "README.md").read_text()
    assert manifests.values_table() in readme, "run: python -m charts.manifests --write"


def test_the_chart_has_the_version_of_the_product() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    pyproject = (manifests.ROOT / "pyproject.toml").read_text()
    assert f'\nversion = "{chart["appVersion"]}"\n' in pyproject
    assert chart["version"] == chart["appVersion"]


def test_the_three_copies_of_the_crd_are_equal() -> None:
    source = (manifests.ROOT / "crds" / "paceline.dev_trainjobs.yaml").read_text()
    assert (CHART / "files" / "crd.yaml").read_text() == source
    assert (manifests.ROOT / "config" / "crd" / "paceline.dev_trainjobs.yaml").read_text() == source


def is_object(node: dict[str, Any]) -> bool:
    return node.get("type") == "object"


def nodes(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(f"{path}.{name}".lstrip("."), child)
    if isinstance(schema.get("items"), dict):
        yield from nodes(f"{path}[]", schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(f"{path}{{}}", schema["additionalProperties"])
