"""Requirements B1 - B9, a test or more for each row: metrics and checkpoints of real runs. B10: e2e, see the index."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.stores import free_port
from paceline.train import Checkpoint, CheckpointConfig, Result, RunConfig
from tests.integration.rows.conftest import Bucket
from tests.support.faultproxy import FaultProxy
from tests.support.tfevents import read_events
from tests.support.training import epochs, training

MANY = 20_000


def local(tmp_path: Path, **options: Any) -> RunConfig:
    return RunConfig(name="digits", storage_path=str(tmp_path / "runs"), **options)


def test_b1_every_rank_reports_and_rank_0s_metrics_are_used(tmp_path: Path) -> None:
    with training(tmp_path, local(tmp_path), workers=3) as run:
        result = run.fit(
            """
            from paceline import train
            rank = train.get_context().get_world_rank()
            for epoch in range(4):
                train.report({"epoch": epoch, "loss": rank + 0.5})
            """
        )
    assert result.metrics is not None
    assert (result.metrics["epoch"], result.metrics["loss"]) == (3, 0.5)
    frame = result.metrics_dataframe
    assert frame is not None
    assert (list(frame["epoch"]), set(frame["loss"])) == ([0, 1, 2, 3], {0.5})
    assert result.checkpoint is None


def test_b1_metrics_only_reports_are_never_lost_and_cheap(tmp_path: Path) -> None:
    """The process is killed right after the last one: whatever had returned is kept."""
    script = f"""
        import os, pathlib, signal, time
        from paceline import train
        took = []
        for i in range({MANY}):
            before = time.perf_counter()
            train.report({{"i": i, "loss": 1 / (i + 1)}})
            took.append(time.perf_counter() - before)
        pathlib.Path("median").write_text(str(sorted(took)[len(took) // 2]))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with training(tmp_path, local(tmp_path), workers=1) as run:
        assert run.end(script) == 137
    frame = run.result.metrics_dataframe
    assert frame is not None
    assert list(frame["i"]) == list(range(MANY))
    # Some 10 us on a quiet machine (benchmarks/report.py); a wait for anybody would take far longer than this.
    assert float((tmp_path / "median").read_text()) < 500e-6


def test_b2_plain_metrics_and_numpy_scalars_arrive_as_they_were(tmp_path: Path) -> None:
    with training(tmp_path, local(tmp_path), workers=1) as run:
        result = run.fit(
            """
            import numpy as np
            from paceline import train
            train.report({"loss": np.float32(0.5), "count": np.int64(3), "ok": np.bool_(True), "name": "a",
                          "per class": [1, 2.5], "val": {"acc": 0.9, "deep": {"x": False}}, "none": None})
            """
        )
    metrics = result.metrics
    assert metrics is not None
    told = {"loss": 0.5, "count": 3, "ok": True, "name": "a", "per class": [1, 2.5], "none": None}
    assert {name: metrics[name] for name in told} == told
    assert metrics["val"] == {"acc": 0.9, "deep": {"x": False}}
    assert type(metrics["count"]) is int


def test_b2_what_is_no_plain_value_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """A refused report stores nothing of itself, and the training may go on."""
    with training(tmp_path, local(tmp_path), workers=1) as run:
        result = run.fit(
            """
            import json, pathlib
            import numpy as np
            from paceline import train
            tensor = type("Tensor", (), {"item": lambda self: 0.5})
            tensor.__module__ = "torch"
            said = []
            for bad in ({"loss": tensor()}, {"val": {"acc": np.zeros(2)}}, {"model": object()}, {1: 2}, [0.5]):
                try:
                    train.report(bad)
                except TypeError as e:
                    said.append(str(e))
            pathlib.Path("said").write_text(json.dumps(said))
            train.report({"loss": tensor().item()})
            """
        )
    assert json.loads((tmp_path / "said").read_text()) == [
        "metrics['loss'] is a torch.Tensor, which cannot be reported: call .item() on a tensor of one element, or"
        " .tolist() on an array",
        "metrics['val']['acc'] is a numpy.ndarray, which cannot be reported: call .item() on a tensor of one element,"
        " or .tolist() on an array",
        "metrics['model'] is a object, which cannot be reported: report numbers, strings, bools, lists or dicts",
        "metrics has the key 1 of type int: keys must be strings",
        "report() takes a dict of metrics, not list",
    ]
    frame = result.metrics_dataframe
    assert frame is not None
    assert list(frame["loss"]) == [0.5]


def test_b3_ranks_bring_their_losses_together_and_rank_0_reports_the_mean(tmp_path: Path) -> None:
    """By the address that every worker has in its environment; torch's own process group: examples/torch-digits."""
    script = """
        import os, time
        from multiprocessing.connection import Client, Listener
        from paceline import train

        context = train.get_context()
        rank, ranks = context.get_world_rank(), context.get_world_size()
        group = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])

        def mean(value):
            if rank == 0:
                with Listener(group, backlog=ranks) as listener:
                    others = [listener.accept() for _ in range(ranks - 1)]
                    total = sum([value, *(other.recv() for other in others)]) / ranks
                    for other in others:
                        other.send(total)
                return total
            while True:
                try:
                    with Client(group) as lead:
                        lead.send(value)
                        return lead.recv()
                except ConnectionRefusedError:
                    time.sleep(0.02)

        train.report({"mean_loss": mean([6.0, 1.0, 2.0][rank])})
    """
    with training(tmp_path, local(tmp_path), workers=3, MASTER_PORT=str(free_port())) as run:
        result = run.fit(script)
    assert result.metrics is not None
    assert result.metrics["mean_loss"] == 3.0


def test_b4_every_report_is_in_json_csv_tensorboard_and_on_the_console(tmp_path: Path) -> None:
    with training(tmp_path, local(tmp_path), workers=2) as run:
        run.fit(
            """
            from paceline import train
            for epoch in range(3):
                train.report({"loss": 1 / 2**epoch, "val": {"acc": epoch / 4}, "note": "a, b"})
            """
        )
        directory = Path(run.settings.run_path)
    lines = [json.loads(line) for line in (directory / "result.json").read_text().splitlines()]
    assert [(line["loss"], line["val"], line["step"]) for line in lines] == [
        (1.0, {"acc": 0.0}, 1), (0.5, {"acc": 0.25}, 2), (0.25, {"acc": 0.5}, 3),
    ]  # fmt: skip
    with (directory / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["loss"], row["val/acc"], row["note"]) for row in rows] == [
        ("1.0", "0.0", "a, b"), ("0.5", "0.25", "a, b"), ("0.25", "0.5", "a, b"),
    ]  # fmt: skip
    (events,) = directory.glob("events.out.tfevents.*")
    assert read_events(events) == [
        (1, {"loss": 1.0, "val/acc": 0.0}),
        (2, {"loss": 0.5, "val/acc": 0.25}),
        (3, {"loss": 0.25, "val/acc": 0.5}),
    ]
    assert "step 1: loss=1 val/acc=0" in run.log
    assert "step 3: loss=0.25 val/acc=0.5" in run.log


def test_b5_processes_of_a_node_share_one_download_which_goes_with_its_last_user(
    tmp_path: Path, bucket: Bucket, fault_proxy: Callable[..., FaultProxy]
) -> None:
    proxy = fault_proxy(bucket.server.endpoint)
    config = RunConfig(name="digits", storage_path=bucket.uri(endpoint=proxy.endpoint))
    script = """
        import os, pathlib, time
        from paceline import train
        rank = train.get_context().get_world_rank()
        with train.get_checkpoint().as_directory() as folder:
            assert pathlib.Path(folder, f"rank-{rank}.txt").read_text() == "2"
            pathlib.Path(f"seen-{rank}").write_text(folder)
            while not pathlib.Path(f"seen-{1 - rank}").exists():
                time.sleep(0.01)
        end = time.monotonic() + 5
        while os.path.exists(folder) and time.monotonic() < end:
            time.sleep(0.01)
        assert not os.path.exists(folder)
    """
    with training(tmp_path, config, **bucket.keys) as run:
        run.fit()
        stored = len(proxy.requests)
        run.fit(script, attempt=1)
    fetched = [seen.path for seen in proxy.requests[stored:] if seen.method == "GET" and "/rank-" in seen.path]
    assert sorted(re.findall(r"rank-\d", " ".join(fetched))) == ["rank-0", "rank-1"]
    assert (tmp_path / "seen-0").read_text() == (tmp_path / "seen-1").read_text()


def test_b5_a_checkpoint_is_used_in_place_where_it_is_local_and_copied_where_it_is_not(
    tmp_path: Path, bucket: Bucket
) -> None:
    for config, env in ((local(tmp_path), {}), (RunConfig(name="digits", storage_path=bucket.uri()), bucket.keys)):
        with training(tmp_path / (config.storage_path or "")[:2], config, **env) as run:
            found = run.fit().checkpoint
        assert found is not None
        with found.as_directory() as folder:
            assert (folder == found.path) == (config.storage_path != bucket.uri())
            assert Path(folder, "rank-1.txt").read_text() == "2"
        assert Path(folder).exists() == (folder == found.path)
        copied = Path(found.to_directory(tmp_path / f"copy-of-{len(env)}"))
        assert {"rank-0.txt", "rank-1.txt"} <= {path.name for path in copied.iterdir()}
        again = Checkpoint(found.uri)
        assert again == found
        assert again.get_metadata() == {}
        again.set_metadata({"framework": "torch"})
        again.update_metadata({"released": True})
        assert found.get_metadata() == {"framework": "torch", "released": True}
        assert Checkpoint.from_directory(copied).get_metadata() == {}
        inside = found.filesystem.get_file_info(f"{found.path}/rank-0.txt")
        assert (inside.is_file, inside.size) == (True, 1)


def test_b6_after_a_restart_every_rank_gets_the_latest_committed_checkpoint(tmp_path: Path) -> None:
    with training(tmp_path, local(tmp_path), per_pod=1) as run:
        assert run.end(CRASH_AFTER="1") == 1
        assert run.log.count("begins with epoch 0 of None") == 2
        # What a crash leaves half done must never be given to anybody.
        half = Path(run.settings.run_path, "checkpoint_000002")
        half.mkdir()
        (half / "rank-0.txt").write_text("99")
        result = run.fit(attempt=1)
        latest = f"{run.settings.run_path}/checkpoint_000001"
        assert [f"begins with epoch 2 of {latest}" in pod.log for pod in run.pods] == [True, True]
    assert epochs(result) == [0, 1, 2]
    assert result.error is None


def test_b6_a_new_run_starts_from_a_given_checkpoint(tmp_path: Path) -> None:
    with training(tmp_path / "a", local(tmp_path)) as run:
        assert run.end(CRASH_AFTER="0") == 1
        given = run.result.checkpoint
    assert given is not None
    onward = RunConfig(name="onward", storage_path=str(tmp_path / "runs"))
    with training(tmp_path / "b", onward, resume_from=given, PACELINE_RUN_ID="run-2") as run:
        result = run.fit()
        assert run.log.count(f"begins with epoch 1 of {given.path}") == 2
    assert epochs(result) == [1, 2]
    assert epochs(Result.from_path(tmp_path / "runs/digits")) == [0]


def test_b7_files_of_all_ranks_merge_into_one_checkpoint(tmp_path: Path) -> None:
    script = """
        import pathlib, tempfile
        from paceline import train
        rank = train.get_context().get_world_rank()
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "shards").mkdir()
            pathlib.Path(folder, "shards", f"{rank}.bin").write_bytes(bytes([rank]) * 1000)
            if rank == 0:
                pathlib.Path(folder, "model.json").write_text("{}")
            train.report({"epoch": 0}, checkpoint=train.Checkpoint.from_directory(folder))
    """
    with training(tmp_path, local(tmp_path), workers=4, per_pod=2) as run:
        result = run.fit(script)
    assert len(result.best_checkpoints) == 1
    assert result.checkpoint is not None
    with result.checkpoint.as_directory() as folder:
        assert Path(folder, "model.json").read_text() == "{}"
        for rank in range(4):
            assert Path(folder, "shards", f"{rank}.bin").read_bytes() == bytes([rank]) * 1000


def test_b8_the_best_and_always_the_latest_are_kept(tmp_path: Path) -> None:
    """Losses 4, 1, 2 ... of six epochs: the best two have 0.5 and 1, the latest is neither."""
    script = """
        import pathlib, tempfile
        from paceline import train
        for epoch, loss in enumerate([4, 1, 2, 0.5, float("nan"), 3]):
            with tempfile.TemporaryDirectory() as folder:
                pathlib.Path(folder, "model").write_text(str(epoch))
                saved = train.Checkpoint.from_directory(folder)
                train.report({"epoch": epoch, "val": {"loss": loss}}, checkpoint=saved)
    """
    config = local(tmp_path, checkpoint_config=CheckpointConfig(2, "val/loss", "min"))
    with training(tmp_path, config, workers=1) as run:
        result = run.fit(script)
    assert epochs(result) == [1, 3, 5]
    assert sorted(path.name for path in (tmp_path / "runs/digits").glob("checkpoint_*")) == [
        "checkpoint_000001", "checkpoint_000003", "checkpoint_000005",
    ]  # fmt: skip
    best = result.get_best_checkpoint("val/loss", "min")
    assert best is not None
    assert Path(best.path, "model").read_text() == "3"


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"num_to_keep": 0}, ValueError, "num_to_keep is 0: keep at least 1 .*, or leave it out to keep all"),
        ({"num_to_keep": "2"}, TypeError, "CheckpointConfig.num_to_keep is '2', a str: pass a whole number"),
        ({"checkpoint_score_order": "best"}, ValueError, "checkpoint_score_order is 'best': use 'max' .* or 'min'"),
        ({"checkpoint_score_attribute": ""}, ValueError, "checkpoint_score_attribute is empty: leave it out"),
    ],
)  # fmt: skip
def test_b8_bad_values_are_refused_where_they_are_written(
    given: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        CheckpointConfig(**given)


def test_b9_a_result_tells_everything_that_a_run_left(tmp_path: Path, bucket: Bucket) -> None:
    config = RunConfig(name="digits", storage_path=bucket.uri())
    with training(tmp_path, config, **bucket.keys) as run:
        assert run.end(CRASH_AFTER="1") == 1
        failed = Result.from_path(f"s3://{bucket.name}/runs/digits?endpoint_override={bucket.server.endpoint}")
        result = run.fit(attempt=1)
    assert failed.error is not None
    assert (failed.error.type, failed.error.message) == ("ValueError", "lost in epoch 1")
    assert failed.error.rank in (0, 1)
    assert 'raise ValueError(f"lost in epoch {epoch}")' in (failed.error.traceback or "")
    assert epochs(failed) == [0, 1]

    assert result.error is None
    assert result.metrics is not None
    assert {name: result.metrics[name] for name in ("epoch", "loss", "rank", "attempt")} == {
        "epoch": 2, "loss": 2, "rank": 0, "attempt": 1,
    }  # fmt: skip
    assert result.path == f"{bucket.name}/runs/digits"
    assert result.filesystem.get_file_info(f"{result.path}/result.json").is_file
    assert result.config is not None
    assert result.config["world_size"] == 2
    assert result.checkpoint is not None
    assert result.checkpoint.path == f"{bucket.name}/runs/digits/checkpoint_000002"
    assert [metrics["loss"] for _, metrics in result.best_checkpoints] == [4, 1, 2]
    for mode, epoch in (("min", 1), ("max", 0)):
        best = result.get_best_checkpoint("loss", mode)  # type: ignore[arg-type]
        assert best == result.best_checkpoints[epoch][0]
    frame = result.metrics_dataframe
    assert frame is not None
    assert list(frame["epoch"]) == [0, 1, 2]
    with pytest.raises(ValueError, match="has a number as metric 'accuracy'; they have: epoch, loss, rank"):
        result.get_best_checkpoint("accuracy", "max")
