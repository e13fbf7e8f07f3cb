"""`Result` of runs on a local path: what is there, and what is wrong with it."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import pyarrow.fs
import pytest

from paceline.train import Checkpoint, Result, TrainingFailedError
from tests.support.runs import Run


def test_a_run_is_read_whole(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "digits"))
    run.reports({"loss": 3.0}, {"loss": 1.0, "best": True, "nested": {"a": 1}}, {"loss": float("nan")})
    run.put("result.json", (tmp_path / "digits/result.json").read_text().replace("NaN", '"NaN"'))
    run.checkpoint(0, loss=3.0).checkpoint(1, loss=1.0).checkpoint(2, loss="NaN")
    result = Result.from_path(run.path)
    assert result.metrics is not None
    assert math.isnan(result.metrics["loss"])
    assert result.metrics["iteration"] == 3
    assert result.checkpoint == Checkpoint(f"{run.path}/checkpoint_000002")
    assert [(c.path[-1], m["loss"]) for c, m in result.best_checkpoints][:2] == [("0", 3.0), ("1", 1.0)]
    assert result.error is None
    assert result.config == {"command": ["python", "train.py"], "world_size": 2}
    assert (result.path, result.uri) == (run.path, run.path)
    assert result.filesystem == pyarrow.fs.LocalFileSystem()
    frame = result.metrics_dataframe
    assert frame is not None
    assert list(frame["loss"][:2]) == [3.0, 1.0]
    assert math.isnan(frame["loss"][2])
    assert frame["nested/a"][1] == 1
    again = pickle.loads(pickle.dumps(result))
    assert (again.checkpoint, again.path, len(again.metrics_dataframe)) == (result.checkpoint, result.path, 3)
    assert "digits" in repr(result)


def test_the_best_checkpoint_is_the_one_with_the_best_metric(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "r")).reports({"a": 1})
    for i, loss in enumerate([3.0, 1.0, "NaN", 1.0, 2.0]):
        run.checkpoint(i, loss=loss, deep={"acc": -i})
    result = Result.from_path(run.path)
    for metric, mode, index in (("loss", "min", 3), ("loss", "max", 0), ("deep/acc", "max", 0)):
        best = result.get_best_checkpoint(metric, mode)  # type: ignore[arg-type]
        assert best is not None
        assert best.path.endswith(f"checkpoint_00000{index}")
    with pytest.raises(ValueError, match="has a number as metric 'accuracy'; they have: deep/acc, loss"):
        result.get_best_checkpoint("accuracy", "max")
    with pytest.raises(ValueError, match="mode is 'best': use 'max'"):
        result.get_best_checkpoint("loss", "best")  # type: ignore[arg-type]
    assert Result.from_path(Run(str(tmp_path / "s")).reports({"a": 1}).path).get_best_checkpoint("a", "min") is None


def test_uncommitted_checkpoints_do_not_exist(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "r")).reports({"a": 1}).checkpoint(0).checkpoint(1, committed=False)
    run.checkpoint(2, committed=False).put("artifacts/.paceline.json", "no commit").put("notes/readme.txt", "hello")
    result = Result.from_path(run.path)
    assert result.checkpoint is not None
    assert result.checkpoint.path.endswith("checkpoint_000000")
    assert len(result.best_checkpoints) == 1


def test_named_and_external_checkpoints_are_where_they_are(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = Run(str(tmp_path / "r")).reports({"a": 1}).checkpoint(0).checkpoint(1, name="epoch=1-final")
    run.checkpoint(2, {}, external={"1": "s3://other", "0": str(elsewhere)})
    found = [c.path for c, _ in Result.from_path(run.path).best_checkpoints]
    assert found == [f"{run.path}/checkpoint_000000", f"{run.path}/epoch=1-final", str(elsewhere)]


def test_a_line_that_was_cut_by_a_crash_does_not_count(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "r")).reports({"loss": 2.0}, {"loss": 1.0}, cut='{"loss": 0.5, "st')
    result = Result.from_path(run.path)
    assert result.metrics is not None
    assert result.metrics["loss"] == 1.0
    assert result.metrics_dataframe is not None
    assert len(result.metrics_dataframe) == 2
    only = Result.from_path(Run(str(tmp_path / "s")).reports(cut='{"lo').path)
    assert (only.metrics, only.metrics_dataframe) == (None, None)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "r")).reports({"loss": 2.0})
    run.put("result.json", '{"loss": 1}\n\x00\x00\n{"loss": 3}\n')
    result = Result.from_path(run.path)
    assert result.metrics == {"loss": 3}
    with pytest.raises(ValueError, match=r"line 2 of result\.json is damaged"):
        _ = result.metrics_dataframe
    run.put("result.json", "[1]\n")
    with pytest.raises(ValueError, match=r"line 1 of result\.json is damaged"):
        Result.from_path(run.path)


def test_the_failure_of_the_last_attempt_is_the_error(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "r")).reports({"a": 1})
    run.failed(rank=3, type="ValueError", message="loss is nan", traceback="Traceback\n  line 3", exitCode=1, attempt=2)
    error = Result.from_path(run.path).error
    assert isinstance(error, TrainingFailedError)
    assert (error.rank, error.type, error.exit_code, error.attempt) == (3, "ValueError", 1, 2)
    assert str(error) == "rank 3 failed: ValueError: loss is nan\n\nTraceback\n  line 3"
    assert pickle.loads(pickle.dumps(error)).__dict__ == error.__dict__
    run.failed(message="no such bucket", reason="StorageError", lastLines=["a", "b"])
    assert str(Result.from_path(run.path).error) == "the run failed (StorageError): no such bucket\n\na\nb"


def test_what_is_no_run_is_told_with_the_likely_mistake(tmp_path: Path) -> None:
    Run(str(tmp_path / "runs/digits")).reports({"a": 1}).checkpoint(0)
    with pytest.raises(FileNotFoundError, match=r"no run lies at .*/none: there is no result.json"):
        Result.from_path(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="and below are: digits"):
        Result.from_path(tmp_path / "runs")
    with pytest.raises(FileNotFoundError, match="is a checkpoint: its run is the directory above"):
        Result.from_path(tmp_path / "runs/digits/checkpoint_000000")
    with pytest.raises(ValueError, match="has a scheme, but a filesystem is given too"):
        Result.from_path("s3://b/r", pyarrow.fs.LocalFileSystem())
