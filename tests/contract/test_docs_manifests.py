"""Manifests in the documentation are those that run: files of examples/, or fragments that the models accept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from paceline.api import TrainJobSpec

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SMALLEST = {"image": "train:1", "command": ["python", "train.py"]}
FRAGMENT = "# a fragment of spec"


def blocks(page: Path) -> Iterator[str]:
    """YAML blocks of a page, without those that are included from a file."""
    for block in re.findall(r"^ *```ya?ml[^\n]*\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL):
        if "--8<--" not in block:
            yield block


def _jobs() -> list[Any]:
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page))
        if re.search(r"^kind: TrainJob$", block, re.MULTILINE)
    ]


def _fragments() -> list[Any]:
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page))
        if block.startswith(FRAGMENT)
    ]


@pytest.mark.parametrize("block", _jobs())
def test_a_whole_manifest_in_a_page_is_a_file_of_the_examples(block: str) -> None:
    assert block in {file.read_text() for file in (ROOT / "examples").rglob("*.yaml")}


@pytest.mark.parametrize("block", _fragments())
def test_a_fragment_of_spec_is_accepted(block: str) -> None:
    TrainJobSpec.model_validate(SMALLEST | yaml.safe_load(block))


def test_the_readme_shows_the_digits_job() -> None:
    assert (ROOT / "examples/torch-digits/trainjob.yaml").read_text() in (ROOT / "README.md").read_text()


def test_a_misspelt_fragment_would_be_seen() -> None:
    with pytest.raises(ValidationError):
        TrainJobSpec.model_validate(SMALLEST | {"checkpoints": {"keeps": 3}})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_includes_or_links_to_are_there(page: Path) -> None:
    text = page.read_text()
    included = [ROOT / name for name in re.findall(r'--8<-- "([^":]+)"', text)]
    linked = [page.parent / name for name in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)]
    assert [str(path) for path in included + linked if not path.exists()] == []
