"""The examples with experiment trackers, each ended half way and started again: the tracker shows one run.

Each is the command of a job, as on a cluster: an attempt is one process. What it logged is read back by the tracker's
own reader.
"""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support import wandb_offline
from tests.support.agents import Job, job

EXAMPLES = Path(__file__).parents[3] / "examples"
TIMEOUT_S = 600  # six processes that import torch, on two cores that others may use too
pytestmark = pytest.mark.timeout(TIMEOUT_S)
EPOCHS, ENDED_IN = 5, 3  # epochs count from 1
RUN_ID = "run-1"  # what Job calls it
STEPS = 90  # of an epoch: 1,437 samples in batches of 16
LAST_STEPS = [STEPS * epoch - 1 for epoch in range(1, EPOCHS + 1)]  # as Lightning counts
CHANCE = 0.1  # ten classes

# The example as it is, but for its first attempt, whose process ends as it begins the epoch.
ENDED_ONCE = """
    import gc, os, signal, sys

    gc.disable()  # a third of the CPU of an import

    sys.path.insert(0, {folder!r})
    import train

    gc.freeze()
    gc.enable()
    original = {function}
    calls = []

    def ended(*arguments, **keywords):
        calls.append(1)
        if os.environ["PACELINE_ATTEMPT"] == "0" and len(calls) == {ended_in}:
            {how}
        return original(*arguments, **keywords)

    {function} = ended
    train.main()
"""
KILLED = "os.kill(os.getpid(), signal.SIGKILL)", 137
RAISED = "raise RuntimeError('the loss is no number')", 1


def two_attempts(run: Job, example: str, function: str, end: tuple[str, int], *arguments: str, **env: Any) -> None:
    """Run the example until the function ends it, and again until its own end."""
    how, code = end
    text = ENDED_ONCE.format(folder=str(EXAMPLES / example), function=function, ended_in=ENDED_IN, how=how)
    command = [*run.script(text, "ended_once.py"), "--epochs", str(EPOCHS), *arguments]
    for attempt, expected in ((0, code), (1, 0)):
        pod = run.start(command, attempt=attempt, **env)
        assert pod.wait(TIMEOUT_S) == expected, pod.log


def losses_fall(losses: list[float]) -> bool:
    return len(losses) == EPOCHS and losses[-1] < losses[0] / 2


def test_f3_f5_torch_with_wandb_offline_is_one_run_after_a_failure(tmp_path: Path) -> None:
    with job(tmp_path) as run:
        where = ("--wandb-dir", str(tmp_path / "w"))
        two_attempts(run, "torch-wandb", "train.train_epoch", RAISED, *where, WANDB_MODE="offline")
    first, second = wandb_offline.runs(tmp_path / "w")
    assert {first.run_id, second.run_id} == {RUN_ID}  # `wandb sync` makes one run of them
    assert (first.exit_code, second.exit_code) == (1, 0)
    history = first.history + second.history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]
    assert losses_fall([row["loss"] for row in history])
    assert history[-1]["accuracy"] > 0.8 > CHANCE
    assert (first.project, first.name) == ("digits", "job")
    assert (first.config["lr"], first.config["checkpoints"]) == (5e-3, str(run.run))


def test_f3_f5_torch_with_a_file_of_mlflow_is_one_run_after_a_kill(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    store = tmp_path / "mlflow"
    with job(tmp_path) as run:
        two_attempts(run, "torch-mlflow-file", "train.train_epoch", KILLED, "--mlflow-dir", str(store))
    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    assert experiment.artifact_location == (store / "artifacts").as_uri()
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "job")
    assert found.data.tags["paceline.run_id"] == RUN_ID
    assert (found.data.params["lr"], found.data.params["checkpoints"]) == ("0.005", str(run.run))
    assert found.data.metrics["accuracy"] > 0.8 > CHANCE
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [metric.step for metric in history] == [1, 2, 3, 4, 5]
    assert losses_fall([metric.value for metric in history])


@pytest.fixture(scope="module")
def lightning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all four loggers of one Lightning run in two attempts have logged."""
    directory = tmp_path_factory.mktemp("lightning")
    logs = directory / "logs"
    trackers = [word for name in ("wandb", "mlflow", "comet", "tensorboard") for word in ("--tracker", name)]
    offline = {"WANDB_MODE": "offline", "COMET_START_ONLINE": "false"}
    with job(directory) as run:
        function = "train.DigitsClassifier.on_train_epoch_start"
        two_attempts(run, "lightning-trackers", function, RAISED, "--log-dir", str(logs), *trackers, **offline)
    return logs


def test_f3_f5_lightnings_wandb_logger_goes_on_in_one_run(lightning: Path) -> None:
    first, second = wandb_offline.runs(lightning)
    assert {first.run_id, second.run_id} == {RUN_ID}
    assert (first.exit_code, second.exit_code) == (1, 0)
    told = [(row["trainer/global_step"], row["loss"]) for row in first.history + second.history if "loss" in row]
    assert [step for step, _ in told] == LAST_STEPS
    assert losses_fall([loss for _, loss in told])


def test_f3_f5_lightnings_mlflow_logger_goes_on_in_one_run(lightning: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{lightning}/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert (found.info.status, found.data.tags["paceline.run_id"]) == ("FINISHED", RUN_ID)
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [metric.step for metric in history] == LAST_STEPS
    assert losses_fall([metric.value for metric in history])
    assert found.data.metrics["accuracy"] > 0.8 > CHANCE


def test_f3_f5_lightnings_comet_logger_leaves_an_archive_for_each_attempt_of_one_experiment(lightning: Path) -> None:
    """Comet reads an archive by its own upload alone: this is what is in it."""
    told: dict[int, float] = {}
    keys = set()
    archives = list((lightning / "comet").glob("*.zip"))
    assert len(archives) == 2
    for archive in archives:
        with zipfile.ZipFile(archive) as content:
            keys.add(json.loads(content.read("experiment.json"))["offline_id"])
            for line in content.read("messages.json").decode().splitlines():
                message = json.loads(line)
                metric = message["payload"].get("metric") if message["type"] == "metric_msg" else None
                if metric and metric["metricName"] == "loss":
                    told[metric["step"]] = float(metric["metricValue"])
    assert len(keys) == 1
    assert sorted(told) == LAST_STEPS
    assert losses_fall([told[step] for step in LAST_STEPS])


def test_f3_f5_lightnings_tensorboard_logger_shows_one_curve(lightning: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(lightning / "tensorboard" / "job" / RUN_ID)).Reload()
    told = events.Scalars("loss")
    assert [event.step for event in told] == LAST_STEPS
    assert losses_fall([event.value for event in told])


@pytest.mark.parametrize(("example", "begin"), [("torch-wandb", "wandb_run"), ("torch-mlflow-file", "mlflow_run")])
def test_f4_another_rank_than_0_opens_no_run(example: str, begin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    spec = importlib.util.spec_from_file_location("example", EXAMPLES / example / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with getattr(module, begin)({}) as run:  # with rank 0 it would ask for its configuration
        assert run is None
