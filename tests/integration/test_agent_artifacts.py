"""Files that processes write into their working directory, and the layout of a whole run directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.s3 import S3Server
from paceline.storage import resolve
from tests.support.agents import Job, job, wait_for
from tests.support.tfevents import read_events

OVERVIEW = """
    import os, pathlib, tempfile
    from paceline import train
    rank = train.get_context().get_world_rank()
    for i in range(3):
        with open(f"artifact-rank={rank}-iter={i}.txt", "w") as f:
            f.write("data")
        with tempfile.TemporaryDirectory() as d:
            pathlib.Path(d, f"model-{rank}.pt").write_text(str(i))
            train.report({"loss": 1 / (i + 1), "val": {"acc": i}}, checkpoint=train.Checkpoint.from_directory(d))
"""
SYNC = '{"sync": true, "periodSeconds": 300}'


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Job]:
    with job(tmp_path) as made:
        yield made


def artifacts(job: Job) -> dict[str, str]:
    storage, root = resolve(str(job.run / "artifacts"))
    # By the store's own listing: files that are just being written there have not got their names yet.
    return {entry.name: storage.read(f"{root}/{entry.name}").decode() for entry in storage.files(root)}


def test_the_output_overview_leaves_the_documented_layout(tmp_path: Path) -> None:
    with job(tmp_path, workers=2) as two:
        (tmp_path / "data.csv").write_text("from the image")
        pod = two.train(OVERVIEW + "\n    assert pathlib.Path('data.csv').exists()", PACELINE_ARTIFACTS=SYNC)
        assert pod.process.returncode == 0, pod.log
        there = sorted(path.name for path in two.run.iterdir())
        events = next(two.run.glob("events.out.tfevents.*"))
        found = artifacts(two)
    assert there == [
        ".paceline",
        "artifacts",
        "checkpoint_000000",
        "checkpoint_000001",
        "checkpoint_000002",
        events.name,
        "params.json",
        "progress.csv",
        "result.json",
    ]
    assert sorted(found) == sorted(f"artifact-rank={rank}-iter={i}.txt" for rank in (0, 1) for i in range(3))
    assert not list(tmp_path.glob("artifact-*"))
    assert read_events(events) == [
        (1, {"loss": 1.0, "val/acc": 0.0}),
        (2, {"loss": 0.5, "val/acc": 1.0}),
        (3, {"loss": pytest.approx(1 / 3), "val/acc": 2.0}),
    ]


def test_without_sync_nothing_is_stored_and_nothing_moves(one: Job) -> None:
    pod = one.train("open('out.txt', 'w').write('x')")
    assert pod.process.returncode == 0
    assert (one.directory / "out.txt").exists()
    assert not (one.run / "artifacts").exists()


def test_changed_files_are_stored_again_every_period_and_deleted_ones_stay(one: Job) -> None:
    pod = one.start(
        one.script(
            """
            import os, pathlib, time
            pathlib.Path("sub").mkdir()
            pathlib.Path("sub/a").write_text("1")
            pathlib.Path("gone").write_text("was here")
            def until(name):
                while not pathlib.Path(os.environ["ORDERS"], name).exists():
                    time.sleep(0.02)
            until("go-1")
            pathlib.Path("sub/a").write_text("22")
            pathlib.Path("gone").unlink()
            until("go-2")
            """
        ),
        PACELINE_ARTIFACTS='{"sync": true, "periodSeconds": 0.2}',
        ORDERS=str(one.directory),
    )
    wait_for(lambda: artifacts(one) == {"sub/a": "1", "gone": "was here"})
    (one.directory / "go-1").touch()
    wait_for(lambda: artifacts(one)["sub/a"] == "22")
    (one.directory / "go-2").touch()
    assert pod.wait() == 0
    assert artifacts(one) == {"sub/a": "22", "gone": "was here"}
    assert "warning" not in pod.log


def test_artifacts_go_along_with_a_checkpoint_where_asked(one: Job) -> None:
    pod = one.start(
        one.script(OVERVIEW + "\n    import time; time.sleep(60)"),
        PACELINE_ARTIFACTS='{"sync": true, "periodSeconds": 1000, "onCheckpoint": true}',
    )
    wait_for(lambda: "artifact-rank=0-iter=2.txt" in artifacts(one))
    assert pod.process.poll() is None


def test_what_was_written_until_sigterm_is_stored_within_the_grace(one: Job) -> None:
    pod = one.start(
        one.script("import time\nopen('late.txt', 'w').write('late')\nprint('written', flush=True)\ntime.sleep(60)"),
        PACELINE_ARTIFACTS=SYNC,
    )
    wait_for(lambda: "written" in pod.log)
    pod.terminate()
    assert pod.wait() == 143
    assert artifacts(one) == {"late.txt": "late"}


def test_an_artifact_that_cannot_be_stored_is_a_warning_and_a_figure_not_a_failure(one: Job) -> None:
    (one.run / "artifacts").mkdir(parents=True)
    (one.run / "artifacts/blocked").write_text("a file where a directory should be")
    pod = one.start(
        one.script(
            """
            import os, pathlib, time
            os.mkdir("blocked")
            open("blocked/x", "w").write("x")
            open("fine", "w").write("y")
            while not pathlib.Path(os.environ["ORDERS"], "go").exists():
                time.sleep(0.02)
            """
        ),
        PACELINE_ARTIFACTS='{"sync": true, "periodSeconds": 0.2, "timeoutSeconds": 1}',
        ORDERS=str(one.directory),
    )
    wait_for(lambda: (one.run / "artifacts/fine").exists())
    wait_for(lambda: "artifacts were not stored" in pod.log)
    failed = next(line for line in pod.get("/metrics").splitlines() if "artifacts_failed_total{" in line)
    (one.directory / "go").touch()
    assert pod.wait() == 0, pod.log
    assert float(failed.split()[-1]) >= 1
    assert "blocked/x" in pod.log


def test_a_log_that_grows_all_the_time_is_stored_all_the_same(one: Job) -> None:
    pod = one.start(
        one.script(
            """
            import os, pathlib, time
            with open("growing.log", "w", buffering=1) as f:
                while not pathlib.Path(os.environ["ORDERS"], "go").exists():
                    f.write("line\\n")
            """
        ),
        PACELINE_ARTIFACTS='{"sync": true, "periodSeconds": 0.2}',
        ORDERS=str(one.directory),
    )
    wait_for(lambda: (one.run / "artifacts/growing.log").exists())
    (one.directory / "go").touch()
    assert pod.wait() == 0, pod.log
    assert "not stored" not in pod.log
    assert (one.run / "artifacts/growing.log").read_text().endswith("line\n")


def test_a_name_that_two_pods_use_is_warned_of_and_both_end_well(tmp_path: Path) -> None:
    with job(tmp_path, workers=2, per_pod=1) as two:
        command = two.script("import os\nopen('same.txt', 'w').write(os.environ['RANK'])")
        lead = two.start(command, PACELINE_ARTIFACTS=SYNC)
        second = two.start(command, pod=1, PACELINE_ARTIFACTS=SYNC)
        assert (lead.wait(), second.wait()) == (0, 0), lead.log + second.log
        assert artifacts(two)["same.txt"] in ("0", "1")
    assert "both wrote the artifact same.txt" in lead.log


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param('{"sync": true, "periodSeconds": 0}', "periodSeconds is 0", id="no period"),
        pytest.param("[1]", "not a JSON object", id="a list"),
    ],
)
def test_settings_that_make_no_sense_are_refused(one: Job, given: str, said: str) -> None:
    pod = one.train("pass", PACELINE_ARTIFACTS=given)
    assert pod.process.returncode == 64
    assert said in pod.message["failure"]["message"]


def test_a_run_in_s3_has_the_same_layout(s3_server: S3Server, tmp_path: Path) -> None:
    keys = {k: v for k, v in s3_server.environment.items() if "ENDPOINT" not in k}
    bucket = s3_server.make_bucket("layout")
    where = f"{bucket}/runs?endpoint_override={s3_server.endpoint}"
    with job(tmp_path, workers=2, PACELINE_STORAGE_PATH=where, PACELINE_ARTIFACTS=SYNC, **keys) as two:
        pod = two.train(OVERVIEW + "\n    train.report({'end': 1})")
    assert pod.process.returncode == 0, pod.log
    listed: Any = s3_server.client().list_objects_v2(Bucket="layout", Prefix="runs/job/")["Contents"]
    names = {found["Key"].removeprefix("runs/job/") for found in listed}
    assert {"result.json", "progress.csv", "params.json", "artifacts/artifact-rank=1-iter=2.txt"} <= names
    assert {f"checkpoint_00000{i}/{name}" for i in range(3) for name in (".paceline.json", "model-0.pt")} <= names
    assert sum(name.startswith("events.out.tfevents.") for name in names) == 1
    body = s3_server.client().get_object(Bucket="layout", Key="runs/job/result.json")["Body"].read()
    assert [json.loads(line)["step"] for line in body.splitlines()] == [1, 2, 3, 4]


def test_a_round_of_storing_has_a_time_limit(one: Job) -> None:
    pod = one.train(
        "for i in range(300): open(f'a-{i}', 'w').write('x' * 100_000)",
        PACELINE_ARTIFACTS='{"sync": true, "timeoutSeconds": 0.001}',
    )
    assert pod.process.returncode == 0, pod.log
    assert "within timeoutSeconds" in pod.log
