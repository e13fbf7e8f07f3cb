"""The pages about the wire name what the code has: variables, exit codes, files, settings, rights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from paceline import _contract
from paceline.api import rules
from paceline_operator.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = ("0001-spine.md", "0005-data-plane.md")
PAGE = "\n".join((ROOT / "docs/design" / page).read_text() for page in PAGES)
CONTRACT: dict[str, Any] = {name: value for name, value in vars(_contract).items() if name.isupper()}
VARIABLES = sorted(value for value in CONTRACT.values() if str(value).startswith("PACELINE_"))


def _settings(model: type[BaseModel]) -> set[str]:
    names = set()
    for name, field in model.model_fields.items():
        names.add(field.alias or name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names |= _settings(inner)
    return names


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_of_the_agent_is_on_the_page(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGE)


def test_the_page_names_no_other_variable() -> None:
    # The image's, not ours: which Python the start script takes.
    assert set(re.findall(r"PACELINE_[A-Z_]+[A-Z]", PAGE)) - {"PACELINE_PYTHON"} <= set(VARIABLES)


@pytest.mark.parametrize("name", sorted(name for name in CONTRACT if name.startswith("EXIT_")))
def test_every_exit_code_is_on_the_page(name: str) -> None:
    assert re.search(rf"\b{CONTRACT[name]}\b", PAGE)


@pytest.mark.parametrize("name", sorted(name for name in CONTRACT if name.startswith("REASON_")))
def test_every_reason_of_the_agent_is_on_the_page(name: str) -> None:
    assert f"`{CONTRACT[name]}`" in PAGE


@pytest.mark.parametrize("name", sorted(_settings(Settings)))
def test_every_setting_of_the_operator_is_on_the_page(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGE)


@pytest.mark.parametrize("page", ["docs/concepts.md", "docs/operations/gitops.md", "CHANGELOG.md"])
def test_pages_name_the_fields_that_may_change(page: str) -> None:
    text = (ROOT / page).read_text()
    assert [field for field in rules.MUTABLE if f"`{field}`" not in text] == []
