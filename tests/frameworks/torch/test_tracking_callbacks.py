"""Callbacks and a real MLflow server: two attempts of one run, the first killed, are one run with all steps."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.stores import free_port
from paceline import train
from paceline.tracking import MLflowCallback, WandbCallback
from paceline.train import Checkpoint, FailureConfig, Result, RunConfig, ScalingConfig, TrainingFailedError
from paceline.trainer import Trainer
from tests.support import wandb_offline
from tests.support.agents import wait_for

pytestmark = pytest.mark.timeout(600)
SERVER_S = 240.0  # fourteen seconds on a machine of its own
TWO = ScalingConfig(num_workers=2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking server with SQLite."""
    directory = tmp_path_factory.mktemp("mlflow")
    url = f"http://127.0.0.1:{(port := free_port())}"
    store = ["--backend-store-uri", f"sqlite:///{directory}/mlflow.db", "--artifacts-destination", str(directory)]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # Its queues for evaluations of language models are six more processes, which took half a minute of a core.
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (directory / "log").open("w") as log:
        process = subprocess.Popen([*command, *store], env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(lambda: _answers(url) or process.poll() is not None, SERVER_S)
        assert process.poll() is None, (directory / "log").read_text()
        yield url
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2):
            return True
    except OSError:
        return False


def train_fn(config: dict[str, Any]) -> None:
    """Report six steps; the first attempt is killed at the fourth, once the tracker has the others."""
    import signal
    import time

    before = train.get_checkpoint()
    rank = train.get_context().get_world_rank()
    took = []
    for step in range(0 if before is None else 3, 6):
        metrics = {"loss": 1 / (step + 1), "step": step, "text": "not a number", "val": {"acc": step / 10}}
        if step == 2:
            with tempfile.TemporaryDirectory() as directory:
                Path(directory, "model").touch()
                train.report(metrics, checkpoint=Checkpoint.from_directory(directory), wait=True)
        else:
            begun = time.perf_counter()
            train.report(metrics)
            took.append(time.perf_counter() - begun)
        if before is None and step == 3:
            if rank == 0:
                wait_for(lambda: _logged(config["server"]) >= 4, SERVER_S)
                # W&B's own process writes every fifteen seconds; what it has not written is lost with it.
                wait_for(lambda: 3 in _written(train.get_context().get_trial_dir()), SERVER_S)
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(SERVER_S)
    # Never the time that a tracker takes: the first begins it, in other threads.
    assert min(took) < 0.005, took


def _logged(server: str) -> int:
    from mlflow import MlflowClient

    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("digits")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    return len(client.get_metric_history(runs[0].info.run_id, "loss")) if runs else 0


def _written(directory: str) -> set[int]:
    return {line["step"] for run in wandb_offline.runs(Path(directory)) for line in run.history}


@pytest.fixture(scope="module")
def run(server: str, tmp_path_factory: pytest.TempPathFactory) -> Result:
    directory = tmp_path_factory.mktemp("run")
    trainer = Trainer(
        train_fn,
        train_loop_config={"server": server, "lr": 0.5},
        scaling_config=TWO,
        run_config=RunConfig(
            name="digits",
            storage_path=str(directory),
            failure_config=FailureConfig(max_failures=1),
            callbacks=[
                MLflowCallback(tracking_uri=server, experiment_name="digits"),
                WandbCallback(project="digits", mode="offline"),
            ],
        ),
    )
    result = trainer.fit()
    assert result.metrics is not None
    assert result.metrics["attempt"] == 1
    return result


def test_the_server_has_one_run_with_every_step(run: Result, server: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["lr"] == "0.5"
    steps = [metric.step for metric in client.get_metric_history(found.info.run_id, "loss")]
    assert sorted(set(steps)) == [0, 1, 2, 3, 4, 5]
    assert len(steps) == 7  # the step after the checkpoint was made twice
    assert [metric.value for metric in client.get_metric_history(found.info.run_id, "val/acc")][-1] == 0.5
    assert run.checkpoint is not None
    assert found.data.tags["paceline.checkpoint"] == str(run.checkpoint.path)
    told = {told["kind"]: told for told in run.tracking}
    assert told["mlflow"]["runId"] == found.info.run_id
    assert told["mlflow"]["url"].startswith(f"{server}/#/experiments/{experiment.experiment_id}/runs/")


def test_wandb_has_one_id_and_every_step(run: Result) -> None:
    before, after = wandb_offline.runs(Path(run.path))
    assert before.run_id == after.run_id == {told["kind"]: told["runId"] for told in run.tracking}["wandb"]
    assert {line["step"] for line in [*before.history, *after.history]} == {0, 1, 2, 3, 4, 5}
    assert after.history[-1]["val/acc"] == 0.5
    assert after.config["lr"] == 0.5
    assert after.exit_code == 0


def no_key(config: dict[str, Any]) -> None:
    import wandb

    wandb.init(project="digits")


def test_a_key_that_is_missing_ends_the_run_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    again = FailureConfig(max_failures=5)
    run_config = RunConfig(name="native", storage_path=str(tmp_path), failure_config=again)
    with pytest.raises(TrainingFailedError, match="No API key configured") as raised:
        Trainer(no_key, run_config=run_config).fit()
    assert (raised.value.reason, raised.value.attempt) == ("MissingCredentials", 0)
    kept = Result.from_path(tmp_path / "native").error
    assert kept is not None
    assert kept.reason == "MissingCredentials"
    assert "paceline secrets create wandb" in kept.message
