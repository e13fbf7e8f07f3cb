"""The code of the guide, run as a rank that does not log: no library is needed there, and every call is made."""

from __future__ import annotations

from typing import Any

import pytest

from paceline import _contract as c
from tests.support import docs


def test_the_code_of_the_guide_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(c.RANK, "1")
    monkeypatch.setenv(c.WORLD_SIZE, "2")
    names: dict[str, Any] = {}
    for block in docs.own_python("docs/guides/experiment-tracking.md"):
        exec(block, names)
    functions = [value for name, value in names.items() if name.startswith("train_")]
    assert len(functions) == 5
    for function in functions:
        function({"steps": 2})
    assert [callback.kind for callback in names["run_config"].callbacks] == ["wandb", "mlflow"]
