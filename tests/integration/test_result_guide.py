"""The Python of the pages that read stored files runs as it stands there, against real servers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.gcs import GcsServer
from e2e.cluster.s3 import S3Server
from paceline.train import Checkpoint
from tests.support import docs
from tests.support.runs import Run


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
    blocks = docs.python("docs/guides/results.md")
    assert len(blocks) == 7
    for block in blocks:
        exec(block.replace("http://minio:9000", s3_server.endpoint), seen)
    assert seen["best"] == Checkpoint("s3://experiments/runs/digits/checkpoint_000013")
    assert Path("digits-14/model.pt").read_bytes() == b"weights 14"
    assert seen["table"] == b"step,loss\n1,0.5\n"
    assert seen["checkpoint"].get_metadata() == {"framework": "torch", "classes": 10, "released": True}

    (block,) = docs.python("docs/quickstart.md")  # of the same checkpoint, read by the pods' own variables
    exec(block.replace("...", "files = os.listdir(folder)"), seen)
    assert "model.pt" in seen["files"]


def test_the_reference_of_stores_runs(
    s3_server: S3Server, gcs_server: GcsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    s3_server.make_bucket("bucket")
    there = f"?endpoint_override={gcs_server.endpoint}&anonymous=true"
    gcs_server.make_bucket("bucket")
    Run(f"gs://bucket/runs/digits{there}").reports({"loss": 0.5})
    seen: dict[str, Any] = {"key": s3_server.access_key, "secret": s3_server.secret_key}
    for block in docs.python("docs/reference/storage.md"):
        block = block.replace("minio:9000", s3_server.endpoint.partition("://")[2])
        exec(block.replace("runs/digits", f"runs/digits{there}") if "gs://" in block else block, seen)
    assert "result.json" in capsys.readouterr().out
    assert b"world_size" in seen["config"]
    assert seen["filesystem"].get_file_info(f"{seen['inside']}/params.json").size == len(seen["config"])
