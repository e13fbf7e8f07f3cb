from __future__ import annotations

from paceline.cli import tables
from paceline.client.jobs import run_directory
from tests.support.cli_objects import CHECKPOINT, NOW, job, printed


def test_the_columns_are_those_of_kubectl() -> None:
    shown = job(
        phase="Running", restarts=1, attempt=1, checkpoint=CHECKPOINT, progress={"step": 180},
        workers={"desired": 4, "running": 3, "succeeded": 0},
    )  # fmt: skip
    header, row = printed(tables.jobs([shown], NOW)).splitlines()
    assert header.split() == ["NAME", "PHASE", "WORKERS", "STEP", "CHECKPOINT", "RESTARTS", "AGE"]
    assert row.split() == ["digits", "Running", "3/4", "180", "7", "1", "6m"]


def test_a_job_that_no_operator_has_seen_is_shown() -> None:
    _, row = printed(tables.jobs([job()], NOW, namespaces=True)).splitlines()
    assert row.split() == ["ml", "digits", "Pending", "0/4", "0", "6m"]


def test_rows_of_a_watch_stand_below_each_other() -> None:
    header = printed(tables.jobs([], NOW, steady=True))
    row = printed(tables.jobs([job(phase="Running")], NOW, header=False, steady=True))
    assert header.index("PHASE") == row.index("Running")
    assert header.index("AGE") == row.index("6m")


def test_wide_shows_metrics_image_and_run_directory() -> None:
    shown = job(phase="Succeeded", result={"metrics": {"accuracy": 0.97}, "path": "s3://b/runs/digits"})
    told = printed(tables.jobs([shown], NOW, wide=True), width=200)
    assert "accuracy=0.97" in told
    assert "train:1" in told
    assert "s3://b/runs/digits" in told


def test_the_run_directory_keeps_the_query_at_its_end() -> None:
    body = job().model_copy(deep=True)
    spec = body.spec.model_copy(
        update={"storage": body.spec.storage.model_copy(update={"path": "s3://b/p/?endpoint_override=http://h:1"})}
    )
    shown = body.model_copy(update={"spec": spec})
    assert run_directory(shown) == "s3://b/p/digits?endpoint_override=http://h:1"


def test_a_long_name_is_folded_and_not_cut() -> None:
    name = "n" * 50
    rows = printed(tables.jobs([job(name)], NOW), width=80).splitlines()[1:]
    assert "".join(row.split(" ")[0] for row in rows) == name
