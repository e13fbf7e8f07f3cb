"""From a TrainJob, or what the user wrote, to a run's directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paceline.api import TrainJob
from paceline.cli import checkpoint_place
from paceline.cli.checkpoints import bare_verify
from paceline.client.errors import NotFoundError, UsageError
from paceline.policy.retention import Retention
from tests.support.cli_objects import CHECKPOINT, job, job_body


def job_on(storage: dict[str, Any] | None, **status: Any) -> TrainJob:
    body = job_body(**status)
    body["spec"].pop("storage", None)
    if storage is not None:
        body["spec"]["storage"] = storage
    return TrainJob.from_body(body)


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("digits", False),
        ("digits-2", False),
        ("s3://b/runs/digits", True),
        ("/mnt/shared/digits", True),
        ("runs/digits", True),
        ("./digits", True),
        ("~", True),
        (".", True),
    ],
)
def test_a_job_has_no_slash(given: str, uri: bool) -> None:
    assert checkpoint_place.is_uri(given) is uri


def test_a_job_tells_its_directory_and_what_best_means() -> None:
    body = job_body()
    body["spec"]["checkpoints"] = {"scoreAttribute": "loss", "scoreOrder": "min"}
    place = checkpoint_place.of_job(TrainJob.from_body(body))
    assert place.location.uri == "s3://b/runs/digits"
    assert place.score == Retention(score_attribute="loss", score_order="min")
    assert checkpoint_place.of_job(job(result={"path": "s3://c/elsewhere"})).location.uri == "s3://c/elsewhere"


def test_the_default_storage_of_the_operator_shows_in_the_status() -> None:
    seen = {**CHECKPOINT, "path": "s3://default/runs/digits/checkpoint_000007?region=eu"}
    assert checkpoint_place.of_job(job_on(None, checkpoint=seen)).location.uri == "s3://default/runs/digits?region=eu"
    with pytest.raises(NotFoundError, match=r"names no spec\.storage\.path and has no checkpoint yet"):
        checkpoint_place.of_job(job_on(None))


@pytest.mark.parametrize("elsewhere", ["s3://mine/models/final", "s3://mine/checkpoint_000008", "/data/final"])
def test_a_checkpoint_that_the_user_stored_elsewhere_tells_no_run(elsewhere: str) -> None:
    latest = {**CHECKPOINT, "index": 8, "path": elsewhere}
    with pytest.raises(NotFoundError) as told:
        checkpoint_place.of_job(job_on(None, checkpoint=latest))
    for part in (elsewhere, "paceline checkpoints <path>/digits", "defaultStorage.path", "PACELINE_STORAGE_PATH"):
        assert part in str(told.value)
    best = {**CHECKPOINT, "path": "s3://default/runs/digits/checkpoint_000007?region=eu"}
    place = checkpoint_place.of_job(job_on(None, checkpoint=latest, bestCheckpoint=best))
    assert (place.location.uri, place.is_guess) == ("s3://default/runs/digits?region=eu", True)
    done = job_on(None, checkpoint=latest, result={"path": "s3://default/runs/digits"})
    assert checkpoint_place.of_job(done).is_guess is False


def test_a_volume_that_this_machine_does_not_see_is_told_with_what_the_status_knows() -> None:
    storage = {"path": "/mnt/shared/runs", "volume": {"claimName": "shared", "mountPath": "/mnt/shared"}}
    best = {**CHECKPOINT, "index": 5, "step": 100}
    with pytest.raises(NotFoundError) as told:
        checkpoint_place.of_job(job_on(storage, checkpoint=CHECKPOINT, bestCheckpoint=best))
    for part in (
        "/mnt/shared/runs/digits",
        "PersistentVolumeClaim 'shared'",
        "mount at /mnt/shared",
        "this machine does not see it",
        "Mount the volume here and give the directory",
        "latest 7 (step 168), best 5 (step 100)",
    ):
        assert part in str(told.value)


def test_a_volume_that_is_mounted_here_is_read(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    storage = {"path": str(tmp_path), "volume": {"claimName": "shared", "mountPath": str(tmp_path)}}
    place = checkpoint_place.of_job(job_on(storage))
    assert (place.location.path, place.location.is_local) == (str(tmp_path / "digits"), True)


def test_a_directory_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown key 'x'"):
        checkpoint_place.of_uri("s3://b/c?x=1")
    with pytest.raises(NotFoundError, match="there is no directory /nonexistent/run on this machine"):
        checkpoint_place.of_uri("/nonexistent/run")


def test_verify_alone_compares_sizes() -> None:
    assert bare_verify(["checkpoints", "digits", "--verify"]) == ["checkpoints", "digits", "--verify=sizes"]
    assert bare_verify(["checkpoints", "digits", "--verify=full"]) == ["checkpoints", "digits", "--verify=full"]
    assert bare_verify(["get", "--verify"]) == ["get", "--verify"]
    assert bare_verify([]) == []
