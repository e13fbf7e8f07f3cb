"""What becomes ids, names and directories; the object that does nothing; callbacks; what an agent is told."""

from __future__ import annotations

import copy
import json
import pickle
import re
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from paceline import _contract as c
from paceline.agent.tracking import Tracked
from paceline.tracking import (
    CometCallback,
    MissingCredentialsError,
    MLflowCallback,
    TensorBoardCallback,
    WandbCallback,
    setup_wandb,
)
from paceline.tracking._nothing import NOTHING
from paceline.tracking._place import Place, here
from paceline.tracking._tensorboard import purge_step
from paceline.train import RunConfig
from paceline.trainer import Kubernetes, Trainer
from paceline.trainer.cluster import running

UID = "3f2c0a1b-1111-2222-3333-444455556666"


def test_the_id_is_the_runs_own_and_each_rank_has_one_of_its_own_where_it_wants_to() -> None:
    assert Place(run_id=UID).id(per_rank=False) == UID
    assert [Place(rank=n, world_size=2, run_id=UID).id(per_rank=True) for n in (0, 1)] == [UID, f"{UID}-rank1"]
    assert Place().id(per_rank=True) == ""


@pytest.mark.parametrize("run_id", [UID, "local-run", "0123456789abcdef", "x" * 200])
def test_comets_key_is_the_same_for_a_run_and_one_of_its_kind(run_id: str) -> None:
    key = Place(run_id=run_id).comet_key(per_rank=False)
    assert key == Place(run_id=run_id, attempt=3).comet_key(per_rank=False)
    assert re.fullmatch("[0-9a-zA-Z]{32,50}", key or "")
    assert key != Place(rank=1, run_id=run_id).comet_key(per_rank=True)


def test_a_uid_stays_readable_in_comets_key() -> None:
    assert Place(run_id=UID).comet_key(per_rank=False) == UID.replace("-", "")
    assert Place().comet_key(per_rank=False) is None


@pytest.mark.parametrize(("attempt", "resumed", "step"), [(0, None, None), (0, 7, None), (1, None, 0), (2, 7, 8)])
def test_tensorboard_forgets_what_is_made_again(attempt: int, resumed: int | None, step: int | None) -> None:
    assert purge_step(Place(attempt=attempt, resumed_step=resumed)) == step


def test_the_place_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        c.RANK: "0", c.WORLD_SIZE: "4", c.RUN_ID: UID, c.JOB: "digits", c.ATTEMPT: "2",
        c.STORAGE_PATH: "s3://bucket/runs", c.RESUMED_CHECKPOINT: json.dumps({"step": 40}),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    found = here()
    assert found == Place(0, 4, UID, "digits", 2, "s3://bucket/runs/digits", 40)
    assert found.shared_directory == ""
    assert found.about()["paceline/storage_path"] == "s3://bucket/runs/digits"


def test_outside_of_a_run_nothing_is_said_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (c.RANK, c.WORLD_SIZE, c.RUN_ID):
        monkeypatch.delenv(name, raising=False)
    assert here() == Place()
    assert here().about() == {}


def test_nothing_takes_everything() -> None:
    run: Any = NOTHING
    run.log({"loss": 1}, step=2)
    run.config.update({"a": 1})
    run.summary["best"] = 1
    run.name = "x"
    with run.train() as inner:
        inner.log_metric("a", 1)
    assert list(run.history()) == []
    assert (bool(run), str(run), f"{run.url}", "a" in run.config) == (False, "", "", False)
    assert pickle.loads(pickle.dumps(run)).log is not None
    assert copy.deepcopy(run).anything() is not None
    assert not hasattr(run, "__array__")


def test_other_ranks_import_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(c.RANK, "1")
    monkeypatch.setenv(c.WORLD_SIZE, "2")
    # This environment has no tracker at all.
    assert setup_wandb({"lr": 1}, project="digits") is NOTHING
    monkeypatch.setenv(c.RANK, "0")
    with pytest.raises(ImportError, match=r"pip install wandb, or pip install 'paceline\[tracking\]'"):
        setup_wandb(project="digits")


def test_the_error_survives_pickle() -> None:
    error = pickle.loads(pickle.dumps(MissingCredentialsError("wandb", "words")))
    assert (error.kind, str(error)) == ("wandb", "words")


CALLBACKS = [
    WandbCallback(project="digits", mode="offline"),
    MLflowCallback(tracking_uri="http://mlflow:5000", experiment_name="digits"),
    CometCallback(workspace="team"),
    TensorBoardCallback(serve=True),
]
SPEC = {
    "wandb": {"project": "digits", "mode": "offline"},
    "mlflow": {"trackingUri": "http://mlflow:5000", "experiment": "digits"},
    "comet": {"workspace": "team"},
    "tensorboard": {"serve": True},
}


def test_callbacks_become_what_spec_tracking_says() -> None:
    run = RunConfig(name="digits", storage_path="s3://bucket/runs", callbacks=CALLBACKS)
    assert json.loads(run.resolve().environment()[c.TRACKING]) == SPEC
    trainer = Trainer(len, run_config=run, backend=Kubernetes(image="team/train:1"))
    assert running.order_of(trainer._plan).tracking == SPEC
    _, job = yaml.safe_load_all(trainer.to_manifest())
    assert job["spec"]["tracking"] == SPEC
    assert c.TRACKING not in RunConfig(name="digits", storage_path="s3://bucket/runs").resolve().environment()


# A type checker would find most of these mistakes.
ANY: Any = SimpleNamespace(
    RunConfig=RunConfig,
    WandbCallback=WandbCallback,
    CometCallback=CometCallback,
    TensorBoardCallback=TensorBoardCallback,
)


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (lambda: ANY.RunConfig(callbacks=WandbCallback()), TypeError, r"pass a list, such as \[WandbCallback"),
        (lambda: ANY.RunConfig(callbacks=[WandbCallback]), TypeError, "has WandbCallback: pass objects"),
        (lambda: ANY.RunConfig(callbacks=[print]), TypeError, "written in the training function"),
        (lambda: ANY.RunConfig(callbacks=[CometCallback(), CometCallback()]), ValueError, "two of CometCallback"),
        (lambda: ANY.WandbCallback(api_key="x"), TypeError, "a key belongs into a variable"),
        (lambda: ANY.WandbCallback(mode="off"), ValueError, "mode is 'off': use 'online' or 'offline'"),
        (lambda: ANY.WandbCallback(project=""), ValueError, "project is empty"),
        (lambda: ANY.CometCallback(project=3), TypeError, "project is a int: pass a text"),
        (lambda: MLflowCallback(tracking_uri="http://me:canary@host"), ValueError, "MLFLOW_TRACKING_PASSWORD"),
        (lambda: ANY.TensorBoardCallback(serve=1), TypeError, "pass True or False"),
    ],
)
def test_a_wrong_callback_is_told_in_its_line(make: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said) as raised:
        make()
    assert "canary" not in str(raised.value)


def test_an_agent_keeps_the_newest_runs_and_no_secrets() -> None:
    tracked = Tracked()
    for number in range(10):
        tracked.told({"kind": "wandb", "runId": str(number), "url": f"https://u:canary@host/{number}?k=canary"})
    tracked.told({"kind": "wandb", "runId": "4", "url": "https://host/again"})
    assert [run["runId"] for run in tracked.runs] == ["2", "3", "5", "6", "7", "8", "9", "4"]
    assert tracked.runs[0] == {"kind": "wandb", "runId": "2", "url": "https://host/2"}
    tracked.told({"kind": "mlflow", "runId": "a", "path": "sqlite:///x"})
    assert tracked.runs[-1] == {"kind": "mlflow", "runId": "a", "path": "sqlite:///x"}


def test_a_problem_is_over_when_its_tracker_works() -> None:
    tracked = Tracked()
    problem = {"reason": "Unreachable", "message": "no answer"}
    tracked.told({"kind": "wandb", "problem": problem})
    tracked.told({"kind": "mlflow", "problem": None})
    assert tracked.problem == {"kind": "wandb", **problem}
    tracked.told({"kind": "wandb", "problem": None})
    assert tracked.problem is None
