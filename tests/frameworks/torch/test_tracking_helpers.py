"""The helpers and the real trackers: two attempts, the first killed, are one run of each; and how runs end."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.s3 import S3Server
from paceline import _contract as c
from paceline.agent import failure
from tests.support import wandb_offline
from tests.support.agents import SDK, Job, Pod, job

# A process that imports all of them and torch needs twelve seconds of a core that is its own.
TRACKERS_S = 240.0
pytestmark = pytest.mark.timeout(600)
RUN_ID = "3f2c0a1b-1111-2222-3333-444455556666"
SECRET = "canary" * 8

TRAIN = """
import os, signal, sys, tempfile
from pathlib import Path
from paceline import tracking, train

rank, attempt = train.get_context().get_world_rank(), int(os.environ["PACELINE_ATTEMPT"])
config = {"lr": 0.1, "net": {"width": 32}}
run = tracking.setup_wandb(config, project="digits", mode="offline")
mlflow = tracking.setup_mlflow(config)
experiment = tracking.setup_comet(config, project="digits", mode="offline")
writer = tracking.tensorboard_writer()

# What ranks that do not log are given takes all of this and does nothing.
run.config.update({"more": 1})
run.summary["best"] = 1
with experiment.train():
    pass
if rank:
    assert not run and not set(sys.modules) & {"wandb", "mlflow", "comet_ml", "torch"}

checkpoint = train.get_checkpoint()
first = 0 if checkpoint is None else 3
# The first attempt gets one step beyond its checkpoint, which is made again.
for step in range(first, 4 if attempt == 0 else 6):
    loss = 1 / (step + 1) if step < 3 or attempt else 99.0
    run.log({"loss": loss, "step": step})
    mlflow.log_metrics({"loss": loss}, step=step)
    experiment.log_metric("loss", loss, step=step)
    writer.add_scalar("loss", loss, step)
    if step == 2:
        with tempfile.TemporaryDirectory() as directory:
            open(os.path.join(directory, "model"), "w").close()
            train.report({"loss": loss, "step": step}, checkpoint=train.Checkpoint.from_directory(directory), wait=True)
    else:
        train.report({"loss": loss, "step": step})
if attempt == 0:
    writer.flush()
    if rank == 0:
        import time
        from tests.support import wandb_offline
        place = Path(run.dir).parent.parent
        # The library's own process writes every fifteen seconds; what it has not written is lost with it.
        while not any(line["step"] == 3 for run in wandb_offline.runs(place) for line in run.history):
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()
"""


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Job, list[Pod]]]:
    directory = tmp_path_factory.mktemp("attempts")
    env = {
        "HOME": str(directory),
        c.RUN_ID: RUN_ID,
        "PYTHONPATH": f"{SDK}:{SDK.parent}",
        "WANDB_API_KEY": SECRET,
        "WANDB_SILENT": "true",
        "COMET_API_KEY": SECRET,
        "MLFLOW_TRACKING_PASSWORD": SECRET,
    }
    with job(directory, workers=2, **env) as made:
        pods = []
        for attempt in range(2):
            pods.append(made.start(made.script(TRAIN), attempt=attempt))
            pods[-1].wait(TRACKERS_S)
        yield made, pods


def test_the_first_attempt_is_killed_and_the_second_goes_on(attempts: tuple[Job, list[Pod]]) -> None:
    made, pods = attempts
    assert [pod.process.returncode for pod in pods] == [137, 0], "\n\n".join(pod.log for pod in pods)
    assert [line["step"] for line in made.results()] == [0, 1, 2, 3, 3, 4, 5]


def test_wandb_has_one_run_in_two_directories(attempts: tuple[Job, list[Pod]]) -> None:
    before, after = wandb_offline.runs(attempts[0].run)
    assert (before.run_id, after.run_id) == (RUN_ID, RUN_ID)
    assert (before.exit_code, after.exit_code) == (None, 0)
    assert [line["step"] for line in [*before.history, *after.history]] == [0, 1, 2, 3, 3, 4, 5]
    assert after.config["lr"] == 0.1
    assert after.config["paceline/storage_path"] == str(attempts[0].run)
    assert (after.project, after.name) == ("digits", "job")


def test_mlflow_has_one_run_that_goes_on(attempts: tuple[Job, list[Pod]]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{attempts[0].run}/mlflow.db")
    experiment = client.get_experiment_by_name("job")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["paceline.run_id"] == RUN_ID
    assert run.data.tags["paceline.storage_path"] == str(attempts[0].run)
    assert run.data.params == {"lr": "0.1", "net/width": "32"}
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")] == [0, 1, 2, 3, 3, 4, 5]


def test_comet_leaves_an_archive_of_the_attempt_that_ended(attempts: tuple[Job, list[Pod]]) -> None:
    (archive,) = (attempts[0].run / "comet" / "attempt-1").glob("*.zip")
    with zipfile.ZipFile(archive) as content:
        experiment = json.loads(content.read("experiment.json"))
        messages = [json.loads(line) for line in content.read("messages.json").splitlines()]
    assert experiment["offline_id"] == RUN_ID.replace("-", "")
    assert experiment["project_name"] == "digits"
    metrics = [message["payload"]["metric"] for message in messages if message["type"] == "metric_msg"]
    # Twice each: the library logs what is given to MLflow too.
    assert sorted({metric["step"] for metric in metrics if metric["metricName"] == "loss"}) == [3, 4, 5]


def test_tensorboard_shows_each_step_once(attempts: tuple[Job, list[Pod]]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(attempts[0].run / "tensorboard"))
    events.Reload()
    shown = [(event.step, round(event.value, 3)) for event in events.Scalars("loss")]
    assert shown == [(step, round(1 / (step + 1), 3)) for step in range(6)]


def test_the_runs_are_told_and_no_secret_is(attempts: tuple[Job, list[Pod]]) -> None:
    from paceline.train import Result

    made, pods = attempts
    told = pods[1].message["tracking"]
    assert [(run["kind"], "path" in run, "url" in run) for run in told] == [
        (kind, True, False) for kind in ("wandb", "mlflow", "comet", "tensorboard")
    ]
    assert told[0]["runId"] == pods[0].message["tracking"][0]["runId"] == RUN_ID
    assert told[1]["runId"] == pods[0].message["tracking"][1]["runId"]
    assert Result.from_path(made.run).tracking == told
    kept = [path for path in made.directory.rglob("*") if path.is_file() and path.suffix not in (".py", ".zip")]
    assert len(kept) > 10
    for path in kept:
        assert SECRET.encode() not in path.read_bytes(), path


ENDS = """
import gc, json, os, random, signal, sys, traceback
gc.disable()
import comet_ml, mlflow, wandb
from paceline import tracking
# What each fork would import anew, and look through for garbage when it ends: with it the forks took twice as long.
import alembic.command, boto3, comet_ml.git_logging, databricks.sdk, git, sqlalchemy.dialects.sqlite
import mlflow.store.db.utils, mlflow.store.tracking.sqlalchemy_store
import mlflow.tracing.export.utils, mlflow.tracing.processor.otel, wandb.apis.public, wandb.sdk.lib.gitlib
from paceline.tracking import _comet, _mlflow, _wandb
gc.freeze()
gc.enable()

directory, run_id = sys.argv[1:]

def begin():
    mlflow = tracking.setup_mlflow({"a": 1}, tracking_uri=f"sqlite:///{directory}/mlflow.db", run_name=way)
    run = tracking.setup_wandb(project="ends", mode="offline", name=way, dir=directory)
    run.log({"x": 1})
    mlflow.log_metric("x", 1)
    return mlflow

def helper():  # as a data loader's worker
    pid = os.fork()
    if pid == 0:
        # wandb's own callback at the exit complains about the fork, and Comet puts what is written to stderr into a
        # queue, whose lock one of its threads may have held at the fork: this child would never end.
        sys.stderr = sys.__stderr__
        sys.exit(0)
    os.waitpid(pid, 0)

def ends():
    begin()
    helper()

def raises():
    begin()
    raise ValueError("boom")

def is_told():
    begin()
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError("not reached")

def ends_natively():
    begin().end_run()
    wandb.finish()

def of_rank(rank):
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "PACELINE_RUN_ID": run_id, "PACELINE_JOB": "pair"}
    os.environ.update({name: str(value) for name, value in ranks.items()})
    random.seed(7)  # as training scripts do, on every rank
    run = tracking.setup_wandb(project="ranks", mode="offline", per_rank=True, dir=directory + "/ranks")
    experiment = tracking.setup_comet(project="ranks", mode="offline", per_rank=True)
    run.log({"rank": rank})
    experiment.log_metric("rank", rank)

def on_s3():
    client = tracking.setup_mlflow(
        tracking_uri=f"sqlite:///{directory}/mlflow.db", experiment_name="stored", artifact_location="s3://runs/mlartifacts"
    )
    client.log_text("canary of an artifact", "note.txt")

def kept(call):
    try:
        call()
    except Exception as e:
        told = {"type": type(e).__name__, "message": str(e), "traceback": traceback.format_exc()}
        with open(os.path.join(directory, way + ".json"), "w") as f:
            json.dump(told, f)

def databricks():
    mlflow.set_tracking_uri("databricks")
    mlflow.start_run()

ways = {
    "ends": ends, "raises": raises, "is_told": is_told, "ends_natively": ends_natively,
    "on_s3": on_s3,
    "rank-0": lambda: of_rank(0), "rank-1": lambda: of_rank(1),
    "wandb": lambda: kept(lambda: wandb.init(project="x")),
    "wandb-bad": lambda: (os.environ.update(WANDB_API_KEY="canarycanary"), kept(lambda: wandb.init(project="x"))),
    "comet": lambda: kept(lambda: comet_ml.start(project_name="x")),
    "databricks": lambda: kept(databricks),
    "setup-wandb": lambda: kept(lambda: tracking.setup_wandb(project="x")),
    "setup-comet": lambda: kept(lambda: tracking.setup_comet(project="x")),
    "setup-databricks": lambda: kept(lambda: tracking.setup_mlflow(tracking_uri="databricks", experiment_name="/x")),
}
for way, act in ways.items():
    pid = os.fork()
    if pid == 0:
        act()
        sys.exit(0)
    _, status = os.waitpid(pid, 0)
    print(way, os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server.start_local(tmp_path_factory.mktemp("s3")) as server:
        server.make_bucket("runs")
        yield server


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> tuple[Path, Mapping[str, int]]:
    """Each way in a fork of one process that has imported the libraries."""
    import os

    directory = tmp_path_factory.mktemp("ends")
    script = directory / "ends.py"
    script.write_text(textwrap.dedent(ENDS))
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("PACELINE_", "WANDB_", "COMET_"))}
    env = {**mine, "HOME": str(directory), "PYTHONPATH": str(SDK), "WANDB_SILENT": "true", **s3.environment}
    done = subprocess.run(
        [sys.executable, str(script), str(directory), RUN_ID], env=env, cwd=directory, capture_output=True, text=True
    )
    codes = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert set(codes) >= {"ends", "setup-databricks"}, done.stdout + done.stderr
    return directory, {way: int(code) for way, code in codes.items() if code.lstrip("-").isdigit()}


def test_a_run_ends_as_its_process_does(ends: tuple[Path, Mapping[str, int]]) -> None:
    from mlflow import MlflowClient

    directory, codes = ends
    assert {way: codes[way] for way in ("ends", "raises", "is_told", "ends_natively")} == {
        "ends": 0,
        "raises": 1,
        "is_told": -15,
        "ends_natively": 0,
    }
    runs = MlflowClient(f"sqlite:///{directory}/mlflow.db").search_runs(["0"])
    assert {run.info.run_name: run.info.status for run in runs} == {
        "ends": "FINISHED",
        "raises": "FAILED",
        "is_told": "KILLED",
        "ends_natively": "FINISHED",
    }
    assert {run.name: (run.exit_code, len(run.history)) for run in wandb_offline.runs(directory / "wandb")} == {
        "ends": (0, 1),
        "raises": (1, 1),
        "is_told": (143, 1),
        "ends_natively": (0, 1),
    }


def test_f3_artifacts_of_a_store_in_a_file_lie_on_s3(ends: tuple[Path, Mapping[str, int]], s3: S3Server) -> None:
    from mlflow import MlflowClient

    directory, codes = ends
    assert codes["on_s3"] == 0
    client = MlflowClient(f"sqlite:///{directory}/mlflow.db")
    experiment = client.get_experiment_by_name("stored")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.artifact_uri == f"s3://runs/mlartifacts/{run.info.run_id}/artifacts"
    found = s3.client().get_object(Bucket="runs", Key=f"mlartifacts/{run.info.run_id}/artifacts/note.txt")
    assert found["Body"].read() == b"canary of an artifact"


def test_with_per_rank_each_has_a_run_of_its_own_in_one_group(ends: tuple[Path, Mapping[str, int]]) -> None:
    directory, codes = ends
    assert (codes["rank-0"], codes["rank-1"]) == (0, 0)
    runs = wandb_offline.runs(directory / "ranks")
    assert {run.run_id: (run.name, run.group, run.history[0]["rank"]) for run in runs} == {
        RUN_ID: ("pair-rank0", RUN_ID, 0),
        f"{RUN_ID}-rank1": ("pair-rank1", RUN_ID, 1),
    }
    archives = [zipfile.ZipFile(path) for path in (directory / ".cometml-runs" / "attempt-0").glob("*.zip")]
    experiments = [json.loads(archive.read("experiment.json")) for archive in archives]
    assert len({experiment["offline_id"] for experiment in experiments}) == len(archives) == 2


@pytest.mark.parametrize(
    ("way", "kind", "said"),
    [
        ("wandb", "UsageError", "No API key configured"),
        ("wandb-bad", "AuthenticationError", "API key must have 40+ characters"),
        ("comet", "ValueError", "Comet.ml requires an API key"),
        ("databricks", "MlflowException", "Reading Databricks credential configuration failed"),
    ],
)
def test_the_agent_knows_what_a_tracker_raises_by_itself(
    ends: tuple[Path, Mapping[str, int]], way: str, kind: str, said: str
) -> None:
    told: dict[str, Any] = json.loads((ends[0] / f"{way}.json").read_text())
    assert told["type"] == kind
    found = failure.from_exit(0, 1, time="", exception=told, last_lines=())
    assert found.reason == c.REASON_CREDENTIALS
    assert said in found.message
    assert "paceline secrets create" in found.message
    assert "canary" not in found.message
    # A process that told nothing has its traceback in its output; there it has the name of the module.
    lines = told["traceback"].splitlines()
    assert failure.from_exit(0, 1, time="", exception=None, last_lines=lines).reason == c.REASON_CREDENTIALS


@pytest.mark.parametrize(
    ("way", "said", "variable"),
    [
        ("setup-wandb", "No API key configured", "WANDB_API_KEY"),
        ("setup-comet", "requires an API key", "COMET_API_KEY"),
        ("setup-databricks", "Databricks", "DATABRICKS_CONFIG_FILE"),
    ],
)
def test_the_helpers_name_the_way_out(ends: tuple[Path, Mapping[str, int]], way: str, said: str, variable: str) -> None:
    told = json.loads((ends[0] / f"{way}.json").read_text())
    assert told["type"] == "MissingCredentialsError"
    assert said in told["message"]
    assert variable in told["message"]
