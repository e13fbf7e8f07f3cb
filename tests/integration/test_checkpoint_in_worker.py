"""`Checkpoint` and `Result` around a real agent: storage given as an object, objects handed from run to run."""

from __future__ import annotations

from pathlib import Path

import pyarrow.fs
import pytest

from e2e.cluster.s3 import S3Server
from paceline.train import Checkpoint, CheckpointConfig, Result, RunConfig
from paceline.train._run_settings import write_filesystem
from tests.support.agents import job

TRAIN = """
    import os, pathlib, tempfile
    from paceline import train
    start, checkpoint = 0, train.get_checkpoint()
    if checkpoint:
        print("resumes from", checkpoint.path, type(checkpoint._location.given).__name__)
        checkpoint.update_metadata({"resumed": True})
        with checkpoint.as_directory() as d, checkpoint.as_directory() as again:
            assert d == again
            start = int(pathlib.Path(d, "next").read_text())
        copied = checkpoint.to_directory()
        assert sorted(os.listdir(copied)) == [".metadata.json", "next"]
        assert checkpoint.get_metadata() == {"kind": "test", "resumed": True}
    for i in range(start, 3):
        with tempfile.TemporaryDirectory() as d:
            pathlib.Path(d, "next").write_text(str(i + 1))
            saved = train.Checkpoint.from_directory(d)
            saved.set_metadata({"kind": "test"})
            train.report({"i": i, "loss": 1.0 / (i + 1)}, checkpoint=saved, wait=True)
        if i == 1 and os.environ["PACELINE_ATTEMPT"] == "0" and os.environ.get("CRASH"):
            raise ValueError("boom")
"""


def test_a_run_in_a_filesystem_object_resumes_and_is_read_with_it(s3_server: S3Server, tmp_path: Path) -> None:
    """Its keys are in the object alone: nothing in the environment opens this store."""
    s3_server.make_bucket("in-object")
    filesystem = pyarrow.fs.S3FileSystem(
        endpoint_override=s3_server.endpoint, access_key=s3_server.access_key, secret_key=s3_server.secret_key
    )
    config = RunConfig(
        name="job",
        storage_path="in-object/runs",
        storage_filesystem=filesystem,
        checkpoint_config=CheckpointConfig(2, "loss", "min"),
    )
    run = config.resolve()
    env = run.environment(write_filesystem(filesystem, tmp_path))
    with job(tmp_path, workers=2, **env) as two:
        crashed = two.train(TRAIN, CRASH="1")
        assert crashed.process.returncode == 1, crashed.log
        failed = Result.from_path(run.run_path, filesystem)
        pod = two.train(TRAIN, attempt=1)
    assert pod.process.returncode == 0, pod.log
    assert pod.log.count("resumes from in-object/runs/job/checkpoint_000001 S3FileSystem") == 2
    assert failed.error is not None
    assert (failed.error.type, failed.error.message, failed.error.attempt) == ("ValueError", "boom", 0)
    assert failed.error.traceback is not None
    assert "raise ValueError" in str(failed.error)
    result = Result.from_path(run.run_path, filesystem)
    assert result.error is None
    assert result.metrics is not None
    assert (result.metrics["i"], result.metrics["attempt"]) == (2, 1)
    assert result.filesystem is filesystem
    assert [metrics["i"] for _, metrics in result.best_checkpoints] == [1, 2]
    assert result.get_best_checkpoint("loss", "min") == result.checkpoint
    assert result.config is not None
    assert result.config["world_size"] == 2
    assert result.checkpoint is not None
    assert Path(result.checkpoint.to_directory(tmp_path / "copy"), "next").read_text() == "3"


@pytest.mark.parametrize("given", ["uri", "directory"])
def test_a_checkpoint_of_one_run_starts_another(tmp_path: Path, given: str) -> None:
    first = RunConfig(name="first", storage_path=str(tmp_path / "runs")).resolve()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with job(tmp_path / "a", **first.environment()) as one:
        pod = one.train(TRAIN, CRASH="1")
        assert pod.process.returncode == 1, pod.log
    checkpoint = Result.from_path(first.run_path).checkpoint
    assert checkpoint is not None
    if given == "directory":
        checkpoint = Checkpoint.from_directory(checkpoint.to_directory(tmp_path / "taken"))
    second = RunConfig(name="second", storage_path=str(tmp_path / "runs")).resolve()
    with job(tmp_path / "b", PACELINE_RUN_ID="run-2", **second.environment(resume_from=checkpoint)) as one:
        pod = one.train(TRAIN)
    assert pod.process.returncode == 0, pod.log
    assert f"resumes from {checkpoint.path} NoneType" in pod.log
    frame = Result.from_path(second.run_path).metrics_dataframe
    assert frame is not None
    assert list(frame["i"]) == [2]
