"""What `report` promises beyond metrics: waiting for the commit, named directories, own uploads, back-pressure."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import heldstore
from tests.support.agents import Job, job, wait_for

SAVE = """
    import os, pathlib, sys, tempfile, time
    from paceline import train
    rank = train.get_context().get_world_rank()
    def save(i, size=1, **options):
        with tempfile.TemporaryDirectory() as d:
            pathlib.Path(d, f"shard-{rank}").write_bytes(bytes([i]) * size)
            train.report({"i": i}, checkpoint=train.Checkpoint.from_directory(d), **options)
"""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Job]:
    with job(tmp_path) as made:
        yield made


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Job]:
    """A job whose store takes checkpoint files only once `hold` is gone."""
    (tmp_path / "hold").touch()
    with job(tmp_path, **heldstore.environment(tmp_path)) as made:
        yield made


def release(job: Job) -> None:
    (job.directory / "hold").unlink()


def uploads(pod: Any) -> dict[str, Any]:
    status = pod.status()
    return dict(status["uploads"]) if status else {}


def test_wait_returns_when_the_checkpoint_is_committed(tmp_path: Path) -> None:
    with job(tmp_path, workers=2) as two:
        pod = two.train(
            SAVE
            + """
    run = pathlib.Path(train.get_context().get_trial_dir())
    assert train.get_checkpoint() is None
    for i in range(3):
        save(i, wait=True)
        assert (run / f"checkpoint_00000{i}" / ".paceline.json").exists()
        assert train.get_checkpoint().path == str(run / f"checkpoint_00000{i}")
    save(3)
    assert train.get_checkpoint().path == str(run / "checkpoint_000002")
"""
        )
    assert pod.process.returncode == 0, pod.log
    assert list(two.commits()) == [0, 1, 2, 3]


def test_wait_tells_why_a_checkpoint_was_dropped(held: Job) -> None:
    pod = held.start(
        held.script(
            SAVE
            + """
    import threading
    d = tempfile.mkdtemp()
    pathlib.Path(d, "m").write_text("a")
    def again():
        time.sleep(0.5)
        pathlib.Path(d, "m").write_text("bb")     # shares its content with what was handed over
        pathlib.Path("hold").unlink()
    threading.Thread(target=again).start()
    try:
        train.report({"i": 0}, checkpoint=train.Checkpoint.from_directory(d), wait=True)
    except RuntimeError as e:
        print("dropped:", e)
    save(1, wait=True)
"""
        )
    )
    assert pod.wait() == 0, pod.log
    assert "dropped: m was written again while it was being stored" in pod.log
    assert list(held.commits()) == [1]


def test_a_named_checkpoint_is_found_again_and_goes_with_retention(one: Job) -> None:
    script = (
        SAVE
        + """
    found = train.get_checkpoint()
    start = int(os.environ["PACELINE_ATTEMPT"]) * 2
    assert (found is None) == (start == 0)
    if found:
        with found.as_directory() as d:
            assert os.listdir(d) and pathlib.Path(found.path).name == "step=1"
    save(start, checkpoint_dir_name=f"step={start}")
    save(start + 1, checkpoint_dir_name=f"step={start + 1}", wait=True)
"""
    )
    assert one.train(script, PACELINE_CHECKPOINTS='{"keep": 2}').process.returncode == 0
    assert sorted(one.commits()) == [0, 1]
    second = one.train(script, attempt=1, PACELINE_CHECKPOINTS='{"keep": 2}')
    assert second.process.returncode == 0, second.log
    assert second.message["resumedFrom"]["path"] == str(one.run / "step=1")
    there = sorted(path.parent.name for path in one.run.glob("*/.paceline.json"))
    assert there == ["step=2", "step=3"]
    assert sorted(path.name for path in one.run.glob("*=*")) == ["step=2", "step=3"]


def test_an_uncommitted_named_directory_is_cleared_and_its_name_used_again(held: Job) -> None:
    script = (
        SAVE + "\n    save(1 if os.environ['PACELINE_ATTEMPT'] == '0' else 2, checkpoint_dir_name='checkpoint_best')"
    )
    first = held.start(held.script(script))
    claims = held.run / ".paceline/claims"
    wait_for(lambda: list(claims.glob("checkpoint_*.json")))  # whole: one being written has another name
    (held.run / "checkpoint_best").mkdir(exist_ok=True)
    (held.run / "checkpoint_best/left-over").write_text("half")
    first.process.kill()
    for pid in first.worker_pids():
        os.kill(pid, signal.SIGKILL)
    first.wait()
    release(held)
    second = held.train(script, attempt=1)
    assert second.process.returncode == 0, second.log
    assert sorted(p.name for p in (held.run / "checkpoint_best").iterdir()) == [".paceline.json", "shard-0"]
    assert (held.run / "checkpoint_best/shard-0").read_bytes() == b"\2"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param("save(0, checkpoint_dir_name='../other')", "is no name of a directory", id="traversal"),
        pytest.param("save(0, checkpoint_dir_name='/abs')", "is no name of a directory", id="absolute"),
        pytest.param("save(0, checkpoint_dir_name='..')", "begins with a dot", id="parent"),
        pytest.param("save(0, checkpoint_dir_name='.paceline')", "begins with a dot", id="state"),
        pytest.param("save(0, checkpoint_dir_name='artifacts')", "what the run itself writes", id="reserved"),
        pytest.param("save(0, checkpoint_dir_name='checkpoint_000007')", "numbers checkpoints", id="numbered"),
        pytest.param("save(0, checkpoint_dir_name='')", "has 0 characters", id="empty"),
        pytest.param(
            "save(0, checkpoint_dir_name='a', wait=True); save(1, checkpoint_dir_name='a')",
            "is the name of a committed checkpoint",
            id="taken",
        ),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_the_report(one: Job, script: str, said: str) -> None:
    pod = one.train(SAVE + f"\n    {script}")
    assert pod.process.returncode == 1
    assert said in pod.message["failure"]["message"]
    assert sorted(path.name for path in one.directory.iterdir() if path.name in ("other", "abs")) == []


def test_ranks_that_disagree_on_the_name_end_the_attempt(tmp_path: Path) -> None:
    with job(tmp_path, workers=2) as two:
        pod = two.train(SAVE + "\n    save(0, checkpoint_dir_name=f'of-{rank}')\n    time.sleep(30)")
    assert pod.process.returncode == 1
    assert "different names (rank 0: 'of-0', rank 1: 'of-1')" in pod.message["failure"]["message"]
    assert not two.commits()


def test_an_own_upload_function_stores_the_files_and_each_rank_gets_its_own_back(tmp_path: Path) -> None:
    script = (
        SAVE
        + """
    import shutil
    def upload(checkpoint, name):
        to = pathlib.Path("elsewhere", name, str(rank)).absolute()
        with checkpoint.as_directory() as d:
            shutil.copytree(d, to)
        return train.Checkpoint(to)
    if found := train.get_checkpoint():
        with found.as_directory() as d:
            assert os.listdir(d) == [f"shard-{rank}"], os.listdir(d)
        print("resumed", found.path)
    else:
        save(0, checkpoint_upload_fn=upload)
        save(1, checkpoint_upload_fn=upload, checkpoint_dir_name="mine", wait=True)
        assert train.get_checkpoint().path.endswith(f"mine/{rank}")
"""
    )
    with job(tmp_path, workers=2) as two:
        assert two.train(script).process.returncode == 0
        second = two.train(script, attempt=1)
    assert second.process.returncode == 0, second.log
    commits = two.commits()
    assert [commit["files"] for commit in commits.values()] == [{}, {}]
    assert commits[0]["external"] == {
        str(rank): str(tmp_path / f"elsewhere/attempt=0_report=000000/{rank}") for rank in (0, 1)
    }
    assert f"[rank 1] resumed {tmp_path}/elsewhere/mine/1" in second.log


def test_names_own_uploads_and_waiting_work_over_two_pods(tmp_path: Path) -> None:
    script = (
        SAVE
        + """
    save(0, checkpoint_dir_name="first", wait=True)
    assert train.get_checkpoint().path.endswith("/job/first")
    train.report({"i": 1})
    upload = lambda checkpoint, name: train.Checkpoint(f"/elsewhere/{name}/{rank}")
    save(2, checkpoint_upload_fn=upload, wait=True)
    assert train.get_checkpoint().path == f"/elsewhere/attempt=0_report=000002/{rank}"
"""
    )
    with job(tmp_path, workers=2, per_pod=1) as two:
        command = two.script(script)
        lead, second = two.start(command), two.start(command, pod=1)
        assert (lead.wait(), second.wait()) == (0, 0), lead.log + second.log
        assert [sorted(commit["files"]) for commit in two.commits().values()] == [["shard-0", "shard-1"], []]
        assert (two.run / "first/shard-1").exists()


def test_a_run_in_a_filesystem_object_resumes_in_it(tmp_path: Path) -> None:
    script = (
        SAVE
        + """
    found = train.get_checkpoint()
    if found is None:
        save(7, wait=True)
    else:
        assert "://" not in found.path
        with found.as_directory() as d:
            assert pathlib.Path(d, f"shard-{rank}").read_bytes() == bytes([7]), os.listdir(d)
        found.set_metadata({"seen": True})
        assert found.get_metadata() == {"seen": True}
        print("resumed", flush=True)
"""
    )
    with job(tmp_path, workers=2, **heldstore.environment(tmp_path)) as two:
        first = two.train(script)
        assert first.process.returncode == 0, first.log
        second = two.train(script, attempt=1)
        assert second.process.returncode == 0, second.log
        refused = two.train(script, attempt=2, PACELINE_STORAGE_PATH=f"s3://bucket{tmp_path}")
    assert second.log.count("resumed\n") == 2
    assert "has no scheme beside a filesystem object" in refused.message["failure"]["message"]


def test_a_report_is_held_while_two_checkpoints_wait_and_figures_tell_it(held: Job) -> None:
    pod = held.start(
        held.script(
            SAVE + "\n    for i in range(4):\n        save(i, size=1000)\n        print('reported', i, flush=True)"
        )
    )
    wait_for(lambda: "reported 1" in pod.log)
    time.sleep(1.0)
    assert "reported 2" not in pod.log
    told = uploads(pod)
    assert (told["pendingCheckpoints"], told["pendingBytes"]) == (2, 2000)
    assert told["waitSeconds"] > 0.3
    metrics = pod.get("/metrics")
    assert 'paceline_agent_pending_checkpoints{attempt="0",job_name="job",node_rank="0"} 2.0' in metrics
    release(held)
    assert pod.wait() == 0, pod.log
    assert list(held.commits()) == [0, 1, 2, 3]


def test_max_pending_is_a_setting(held: Job) -> None:
    pod = held.start(
        held.script(SAVE + "\n    for i in range(4):\n        save(i)\n        print('reported', i, flush=True)"),
        PACELINE_CHECKPOINTS='{"maxPending": 3}',
    )
    wait_for(lambda: "reported 2" in pod.log)
    time.sleep(0.5)
    assert "reported 3" not in pod.log
    release(held)
    assert pod.wait() == 0, pod.log


def test_a_rank_that_does_not_report_holds_nobody(tmp_path: Path) -> None:
    with job(tmp_path, workers=2) as two:
        pod = two.train(
            SAVE
            + """
    if rank == 0:
        for i in range(6):
            save(i)
        pathlib.Path("through").touch()
    else:
        while not pathlib.Path("through").exists():
            time.sleep(0.05)
        for i in range(6):
            train.report({"i": i})
"""
        )
    assert pod.process.returncode == 0, pod.log
    assert list(two.commits()) == [0, 1, 2, 3, 4, 5]


def test_back_pressure_holds_the_ranks_of_two_pods_that_go_in_step(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    script = (
        SAVE
        + """
    for i in range(6):
        pathlib.Path(f"at-{rank}-{i}").touch()
        while not pathlib.Path(f"at-{1 - rank}-{i}").exists():      # as a collective does
            time.sleep(0.01)
        time.sleep(0.2)
        save(i)
        print("reported", i, flush=True)
"""
    )
    with job(tmp_path, workers=2, per_pod=1, **heldstore.environment(tmp_path)) as two:
        command = two.script(script)
        lead, second = two.start(command), two.start(command, pod=1)
        wait_for(lambda: "reported 1" in lead.log and "reported 1" in second.log)
        time.sleep(1.5)
        reported = [pod.log.count("reported") for pod in (lead, second)]
        pending = uploads(lead)["pendingCheckpoints"]
        release(two)
        assert (lead.wait(), second.wait()) == (0, 0), lead.log + second.log
    # One more slips through when the other pod's beat is a moment late.
    assert max(reported) <= 3, reported
    assert pending <= 3
    assert list(two.commits()) == [0, 1, 2, 3, 4, 5]


def test_a_handler_may_report_in_the_middle_of_a_report(held: Job) -> None:
    pod = held.start(
        held.script(
            SAVE
            + """
    import signal
    def last(*_):
        train.report({"i": "last"})
        sys.exit(0)
    signal.signal(signal.SIGTERM, last)
    for i in range(4):
        print("next", i, flush=True)
        save(i)
"""
        )
    )
    wait_for(lambda: "next 2" in pod.log)
    time.sleep(0.3)
    pod.terminate()
    release(held)
    assert pod.wait() == 143
    assert held.results()[-1]["i"] == "last"


@pytest.mark.slow
def test_a_hundred_thousand_reports_are_all_kept_although_the_process_is_killed_right_after(one: Job) -> None:
    pod = one.train(
        """
        import os, signal
        from paceline import train
        for i in range(100_000):
            train.report({"loss": 1 / (i + 1), "i": i})
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert pod.process.returncode == 137
    with (one.run / "result.json").open() as f:
        assert [json.loads(line)["i"] for line in f] == list(range(100_000))
    with (one.run / "progress.csv").open() as f:
        assert sum(1 for _ in f) == 100_001
    assert pod.message["progress"]["step"] == 100_000
