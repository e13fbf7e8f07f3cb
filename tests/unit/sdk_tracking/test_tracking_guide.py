"""The code of the guide, run as a rank that does not log: no library is needed there, and every call is made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from paceline import _contract as c

PAGE = (Path(__file__).parents[3] / "docs" / "guides" / "experiment-tracking.md").read_text()


def test_the_code_of_the_guide_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(c.RANK, "1")
    monkeypatch.setenv(c.WORLD_SIZE, "2")
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        exec(block, names)
    functions = [value for name, value in names.items() if name.startswith("train_")]
    assert len(functions) == 4
    for function in functions:
        function({"steps": 2})
    assert [callback.kind for callback in names["run_config"].callbacks] == ["wandb", "mlflow"]
