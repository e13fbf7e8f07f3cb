"""The Python of docs/guides/results.md runs as it stands there, against a real S3 server."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.s3 import S3Server
from paceline.train import Checkpoint
from tests.support.runs import Run

PAGE = Path(__file__).parents[2] / "docs/guides/results.md"


def test_the_guide_runs(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    s3_server.make_bucket("experiments")
    run = Run("s3://experiments/runs/digits").reports({"loss": 0.5, "accuracy": 0.8}, {"loss": 0.1, "accuracy": 0.97})
    run.put("progress.csv", "step,loss\n1,0.5\n")
    for index in (12, 13, 14):
        run.checkpoint(index, loss=2.0 / index, accuracy=0.97 if index == 13 else 0.9)
    seen: dict[str, Any] = {"key": s3_server.access_key, "secret": s3_server.secret_key, "os": os}
    blocks = [
        textwrap.dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```", PAGE.read_text(), re.M | re.S)
    ]
    assert len(blocks) == 7
    for block in blocks:
        exec(block.replace("http://minio:9000", s3_server.endpoint), seen)
    assert seen["best"] == Checkpoint("s3://experiments/runs/digits/checkpoint_000013")
    assert Path("digits-14/model.pt").read_bytes() == b"weights 14"
    assert seen["table"] == b"step,loss\n1,0.5\n"
    assert seen["checkpoint"].get_metadata() == {"framework": "torch", "classes": 10, "released": True}
