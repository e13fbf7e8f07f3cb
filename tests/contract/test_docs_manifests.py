"""Manifests in the documentation are those that run: files of examples/, or fragments that the models accept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from paceline.api import TrainJobSpec, check
from tests.support import docs
from tests.support.docs import ROOT, Block

SMALLEST = {"image": "train:1", "command": ["python", "train.py"]}
VALUES = json.loads((ROOT / "charts/paceline/values.schema.json").read_text())
# Blocks that are values of the chart, and where in an object of somebody else's those stand.
VALUES_PAGE = "docs/operations/install.md"
VALUES_IN = {"Application": ("spec", "source", "helm", "valuesObject"), "HelmRelease": ("spec", "values")}
# Objects of others, of which nothing is ours to look at; each has a test of its own, or says why there is none.
OF_OTHERS = {
    "Role": "Kubernetes' own; that the rights are enough is seen in e2e/test_python_api.py, with the role `edit`",
    "Kustomization": "Flux's own; its two expressions need Flux to be tried",
}
HEALTH = "resource.customizations.health.paceline.dev_TrainJob"  # Lua, which needs Argo CD to be tried
WITH_YAML = docs.everywhere("yaml", "yml")


def kind_of(block: Block) -> str:
    """What a block of YAML is, and so what looks at it.

    Raises:
        LookupError: Nothing would.
    """
    found = yaml.safe_load(block.text)
    kind = found.get("kind")
    if kind == "TrainJob":
        return "job"
    if kind in VALUES_IN or block.page == VALUES_PAGE:
        return "values"
    if kind in OF_OTHERS or set(found.get("data", ())) == {HEALTH}:
        return "of others"
    if set(found) == {"spec"} or set(found) <= {field.alias or name for name, field in FIELDS.items()}:
        return "fragment"
    raise LookupError(f"{block.id}: nothing looks at this block; its keys are {sorted(found)}")


FIELDS = TrainJobSpec.model_fields


def of_kind(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [b for b in WITH_YAML if kind_of(b) in kinds], ids=lambda block: block.id)


@of_kind("job")
def test_a_whole_manifest_in_a_page_is_a_file_of_the_examples(block: Block) -> None:
    """Those are looked at in test_examples_manifests.py, and by a real API server in test_crd_models.py."""
    assert block.text in {file.read_text() for file in docs.EXAMPLES.rglob("*.yaml")}


def spec_of(block: Block) -> dict[str, Any]:
    """A fragment, and what a spec needs beside it."""
    found = yaml.safe_load(block.text)
    return {**SMALLEST, **found.get("spec", found)}


@of_kind("fragment")
def test_a_fragment_of_spec_is_accepted(block: Block) -> None:
    """A real API server takes it too: test_crd_models.py."""
    assert check(TrainJobSpec.model_validate(spec_of(block))) == []


@of_kind("values")
def test_values_of_the_chart_fit_its_schema(block: Block) -> None:
    found = yaml.safe_load(block.text)
    for key in VALUES_IN.get(found.get("kind"), ()):
        found = found[key]
    jsonschema.validate(found, VALUES)


def test_the_readme_shows_the_digits_job() -> None:
    assert (ROOT / "examples/torch-digits/trainjob.yaml").read_text() in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("checkpoints: {keeps: 3}", ValidationError),
        ("checkpoint: {keep: 3}", LookupError),
        ("kind: ConfigMap", LookupError),
    ],
)
def test_a_mistake_in_a_page_would_be_seen(text: str, error: type[Exception]) -> None:
    block = Block("docs/concepts.md", 0, "yaml", text)
    with pytest.raises(error):
        test_a_fragment_of_spec_is_accepted(block if kind_of(block) == "fragment" else WITH_YAML[0])


@pytest.mark.parametrize("page", docs.PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_includes_or_links_to_are_there(page: Path) -> None:
    text = page.read_text()
    included = [ROOT / name for name in re.findall(r'--8<-- "([^":]+)"', text)]
    linked = [page.parent / name for name in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)]
    assert [str(path) for path in included + linked if not path.exists()] == []
