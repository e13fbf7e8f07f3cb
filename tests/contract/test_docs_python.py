"""The reference of the Python API has every public name, and only those."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/reference/python.md").read_text()
# Of a module whose other names need a framework to be imported.
MORE = {"paceline.tensorflow": {"keras.ReportCheckpointCallback"}, "paceline.data": set()}


@pytest.mark.parametrize("module", re.findall(r"^## (\S+)$", PAGE, re.MULTILINE))
def test_the_page_has_every_public_name_of(module: str) -> None:
    public = set(import_module(module).__all__) | MORE.get(module, set())
    written = set(re.findall(rf"^::: {module}\.(\S+)$", PAGE, re.MULTILINE))
    # Named by paceline.train, where users meet it.
    assert written == public - ({"DataConfig"} if module == "paceline.data" else set())
