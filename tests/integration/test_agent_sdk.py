"""The SDK against a real agent: threads, forks, torn files, shared copies of a remote checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster.s3 import S3Server
from tests.support.agents import Job, job


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Job]:
    with job(tmp_path) as made:
        yield made


def test_reports_of_several_threads_are_all_kept(one: Job) -> None:
    pod = one.train(
        """
        import threading
        from paceline import train
        def many(name):
            for i in range(500):
                train.report({"name": name, "i": i})
        threads = [threading.Thread(target=many, args=(str(n),)) for n in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        """
    )
    assert pod.process.returncode == 0, pod.log
    for name in "0123":
        assert [line["i"] for line in one.results() if line["name"] == name] == list(range(500))


def test_a_forked_helper_neither_breaks_nor_blocks_the_reports(one: Job) -> None:
    pod = one.train(
        """
        import os, signal, threading, time
        from paceline import train
        train.report({"i": 0})
        pid = os.fork()
        if pid == 0:
            train.report({"i": "child"})
            time.sleep(60)          # outlives its parent, with the parent's descriptors
            os._exit(0)
        time.sleep(0.2)
        train.report({"i": 1})
        """
    )
    assert pod.process.returncode == 0, pod.log
    assert [line["i"] for line in one.results()] == [0, "child", 1]


def test_a_fork_while_another_thread_reports_does_not_hang_in_the_child(one: Job) -> None:
    pod = one.train(
        """
        import os, threading
        from paceline import train
        done = threading.Event()
        def busy():
            while not done.is_set():
                train.report({"who": "thread"})
        thread = threading.Thread(target=busy)
        thread.start()
        for i in range(60):
            pid = os.fork()
            if pid == 0:
                train.report({"who": "child"})
                os._exit(0)
            os.waitpid(pid, 0)
        done.set()
        thread.join()
        """
    )
    assert pod.process.returncode == 0, pod.log
    assert sum(line["who"] == "child" for line in one.results()) == 60


def test_a_file_that_is_overwritten_before_it_is_stored_is_dropped_and_told(one: Job) -> None:
    pod = one.train(
        """
        import pathlib, tempfile
        from paceline import train
        d = tempfile.mkdtemp()
        for i in range(5):
            pathlib.Path(d, "m").write_bytes(bytes([i]) * 50_000_000)
            train.report({"i": i}, checkpoint=train.Checkpoint.from_directory(d))
        """
    )
    assert pod.process.returncode == 0, pod.log
    stored = {i: (one.run / f"checkpoint_{i:06d}/m").read_bytes() for i in one.commits()}
    assert one.commits()[max(stored)]["metrics"] == {"i": 4}
    for index, data in stored.items():
        assert set(data) == {one.commits()[index]["metrics"]["i"]}
    if len(stored) < 5:
        assert "m was written again while it was being stored" in pod.log


def test_processes_of_a_pod_share_one_copy_of_a_remote_checkpoint(s3_server: S3Server, tmp_path: Path) -> None:
    keys = {k: v for k, v in s3_server.environment.items() if "ENDPOINT" not in k}
    bucket = s3_server.make_bucket("copies")
    s3_server.client().put_object(Bucket="copies", Key="given/model", Body=b"weights")
    given = f"{bucket}/given?endpoint_override={s3_server.endpoint}"
    with job(tmp_path, workers=2, PACELINE_RESUME_FROM=given, **keys) as two:
        pod = two.train(
            """
            import os, pathlib, time
            from paceline import train
            rank = train.get_context().get_world_rank()
            checkpoint = train.get_checkpoint()
            with checkpoint.as_directory() as d:
                assert pathlib.Path(d, "model").read_text() == "weights"
                pathlib.Path(f"dir-{rank}").write_text(d)
                while not pathlib.Path(f"dir-{1 - rank}").exists():
                    time.sleep(0.01)
                assert pathlib.Path(f"dir-{1 - rank}").read_text() in (d, "")
            end = time.monotonic() + 5
            while os.path.exists(d) and time.monotonic() < end:
                time.sleep(0.01)
            assert not os.path.exists(d)
            assert checkpoint.get_metadata() == {}
            assert sorted(os.listdir(checkpoint.to_directory(f"copy-{rank}"))) == ["model"]
            try:
                with train.Checkpoint(checkpoint.uri.replace("given", "none")).as_directory():
                    pass
            except Exception as e:
                print(type(e).__name__, e)
            """
        )
    assert pod.process.returncode == 0, pod.log
    assert "StorageNotFoundError no checkpoint" in pod.log or "StorageError no checkpoint" in pod.log


@pytest.mark.parametrize("resume", ["{storage}/job/checkpoint_000000", "/no/such/place"])
def test_resuming_from_what_is_no_committed_checkpoint_is_refused_at_start(one: Job, resume: str) -> None:
    (one.run / "checkpoint_000000").mkdir(parents=True)
    (one.run / "checkpoint_000000/m").write_text("half")
    pod = one.train("open('started', 'w')", PACELINE_RESUME_FROM=resume.format(storage=one.storage))
    assert pod.process.returncode == 64
    assert "no committed checkpoint lies" in pod.message["failure"]["message"]


def test_without_resume_a_run_starts_anew_beside_the_old_checkpoints(one: Job) -> None:
    script = """
        import pathlib, tempfile
        from paceline import train
        print("resumed", train.get_checkpoint())
        with tempfile.TemporaryDirectory() as d:
            pathlib.Path(d, "m").touch()
            train.report({"a": 1}, checkpoint=train.Checkpoint.from_directory(d))
    """
    one.train(script)
    again = one.train(script, PACELINE_RUN_ID="run-2", PACELINE_RESUME_FROM="none")
    assert "resumed None" in again.log
    assert list(one.commits()) == [0, 1]
    renewed = one.train(script, PACELINE_RUN_ID="run-3")
    assert "checkpoint_000001" in renewed.log
    assert list(one.commits()) == [0, 1, 2]
