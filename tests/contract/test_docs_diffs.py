"""A diff in a guide shows a script that exists: what it adds or keeps is in the example that the page names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = re.compile(r"^```diff\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [page for page in sorted((ROOT / "docs" / "guides").glob("*.md")) if SHOWN.search(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.stem))
def test_every_line_that_a_diff_leaves_is_in_the_example(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"`(examples/[\w/-]+\.py)`", text)
    assert named, "name the example that the diff leads to"
    lines = {line.strip() for name in named for line in (ROOT / name).read_text().splitlines()}
    left = [line[1:].strip() for diff in SHOWN.findall(text) for line in diff.splitlines() if not line.startswith("-")]
    assert [line for line in left if line and line not in lines and not _of_another_form(line, lines)] == []


def _of_another_form(line: str, lines: set[str]) -> bool:
    """An import of some of the names that the example imports from there."""
    module, _, names = line.partition(" import ")
    return module.startswith("from ") and any(
        whole.startswith(f"{module} import ")
        and set(names.split(", ")) <= set(whole.partition(" import ")[2].split(", "))
        for whole in lines
    )
