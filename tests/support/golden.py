"""Golden files: manifests as YAML in tests/golden, written by `pytest --update-golden` and read in the diff."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def check(name: str, value: Any, *, update: bool) -> None:
    """Compare with the golden file, or write it."""
    path = GOLDEN / f"{name}.yaml"
    if update:
        path.write_text(yaml.safe_dump(value, sort_keys=True, width=120))
    assert path.exists(), f"{path} is missing: pytest --update-golden"
    found = yaml.load(path.read_text(), yaml.CSafeLoader)
    assert found == value, f"{path.name} differs: pytest --update-golden, then read the diff"
