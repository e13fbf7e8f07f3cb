"""One agent and its processes: what they see, how they end, what is told about it."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.agent import workdir
from tests.support.agents import SDK, Job, job, wait_for

STEPS = """
    from paceline import train
    for i in range({n}):
        train.report({{"loss": 1 / (i + 1), "epoch": i}})
"""
CHECKPOINTS = """
    import tempfile, pathlib
    from paceline import train
    rank = train.get_context().get_world_rank()
    for i in range(3):
        with tempfile.TemporaryDirectory() as d:
            pathlib.Path(d, f"shard-{rank}").write_text(f"{i}/{rank}")
            train.report({"loss": 1.0 - i / 10}, checkpoint=train.Checkpoint.from_directory(d))
"""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Job]:
    with job(tmp_path) as made:
        yield made


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_every_process_gets_its_ranks_and_all_succeed(tmp_path: Path, workers: int) -> None:
    with job(tmp_path, workers=workers, TF_CONFIG='{"cluster":{"worker":["a:1"]},"task":{"index":0}}') as several:
        pod = several.train(
            """
            import json, os
            from paceline import train
            c = train.get_context()
            assert c.get_world_rank() == c.get_local_rank() == json.loads(os.environ["TF_CONFIG"])["task"]["index"]
            assert c.get_world_size() == c.get_local_world_size() and c.get_node_rank() == 0
            assert c.get_trial_id() == "run-1" and c.get_experiment_name() == "job"
            assert train.get_checkpoint() is None
            print("I am", os.environ["RANK"])
            """
        )
    assert pod.process.returncode == 0, pod.log
    assert pod.message["outcome"] == "succeeded"
    prefixed = [f"[rank {r}] I am {r}" for r in range(workers)] if workers > 1 else ["I am 0"]
    assert set(prefixed) <= set(pod.log.splitlines())


def test_an_exception_is_told_with_rank_type_and_traceback_and_the_others_are_ended(tmp_path: Path) -> None:
    with job(tmp_path, workers=2) as two:
        begun = time.monotonic()
        pod = two.train(
            """
            import os, time
            from paceline import train
            if os.environ["RANK"] == "1":
                raise ValueError("no such column: äge")
            time.sleep(60)
            """
        )
    assert time.monotonic() - begun < 8
    failure = pod.message["failure"]
    assert pod.process.returncode == 1
    assert (failure["rank"], failure["type"], failure["message"]) == (1, "ValueError", "no such column: äge")
    assert 'raise ValueError("no such column: äge")' in failure["traceback"]
    assert json.loads((two.run / ".paceline/error.json").read_text())["type"] == "ValueError"


def test_the_exception_of_a_script_that_knows_nothing_of_paceline_is_read_from_its_output(one: Job) -> None:
    pod = one.train("open('/no/such/file')")
    failure = pod.message["failure"]
    assert (failure["type"], pod.process.returncode) == ("FileNotFoundError", 1)
    assert failure["message"] == "[Errno 2] No such file or directory: '/no/such/file'"


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        pytest.param("import sys; print('bad flag'); sys.exit(7)", 7, "bad flag", id="exit code"),
        pytest.param("import os; os.kill(os.getpid(), 9)", 137, "killed by SIGKILL", id="SIGKILL"),
        pytest.param("import os; os.abort()", 134, "ended by SIGABRT", id="SIGABRT"),
    ],
)
def test_exit_codes_and_signals_become_the_agents_exit_code(one: Job, script: str, code: int, said: str) -> None:
    pod = one.train(script)
    assert pod.process.returncode == code
    assert said in pod.message["failure"]["message"]


def test_a_survivor_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    with job(tmp_path, workers=2, PACELINE_GRACE_SECONDS="3") as two:
        pod = two.train(
            """
            import os, signal, sys, time
            if os.environ["RANK"] == "0":
                time.sleep(0.5)
                sys.exit(5)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)
            """
        )
    assert pod.process.returncode == 5
    assert pod.message["failure"]["rank"] == 0


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        pytest.param(["no-such-program"], 127, "'no-such-program' is not on PATH", id="not on PATH"),
        pytest.param(["./missing.sh"], 127, "./missing.sh is not in the image", id="no such file"),
        pytest.param(["./plain.txt"], 126, "cannot be executed by uid", id="not executable"),
        pytest.param(["./lost.sh"], 127, "the program that its first line names", id="no interpreter"),
    ],
)
def test_a_command_that_cannot_start_says_why(one: Job, command: list[str], code: int, said: str) -> None:
    (one.directory / "plain.txt").write_text("x")
    lost = one.directory / "lost.sh"
    lost.write_text("#!/no/such/shell\n")
    lost.chmod(0o755)
    pod = one.start(command)
    assert pod.wait() == code
    assert pod.message["failure"]["reason"] == "CommandNotStarted"
    assert said in pod.message["failure"]["message"]


@pytest.mark.parametrize(
    ("env", "said"),
    [
        pytest.param({"WORLD_SIZE": "three"}, "WORLD_SIZE='three'", id="not a number"),
        pytest.param({"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "3"}, "not a multiple", id="sizes do not fit"),
        pytest.param({"PACELINE_CHECKPOINTS": '{"keep": 0}'}, "keep at least 1", id="keep 0"),
        pytest.param({"PACELINE_STORAGE_PATH": "nosuch://x/y"}, "nosuch", id="unknown scheme"),
        pytest.param({"PACELINE_STORAGE_PATH": "s3://b/y?zone=1"}, "unknown key 'zone'", id="unknown query key"),
    ],
)
def test_a_bad_configuration_exits_64_before_anything_starts(one: Job, env: dict[str, Any], said: str) -> None:
    pod = one.start(one.script("open('started', 'w')"), **env)
    assert pod.wait() == 64
    assert pod.message["failure"]["reason"] == "InvalidConfig"
    assert said in pod.message["failure"]["message"]
    assert not (one.directory / "started").exists()


def test_reports_are_kept_although_the_process_is_killed_right_after(one: Job) -> None:
    pod = one.train(STEPS.format(n=2000) + "\n    import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert pod.process.returncode == 137
    assert pod.message["progress"]["step"] == 2000
    assert [line["epoch"] for line in one.results()] == list(range(2000))


def test_a_checkpoint_is_kept_although_the_process_is_killed_right_after(one: Job) -> None:
    pod = one.train(CHECKPOINTS + "\n    import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert pod.process.returncode == 137
    assert list(one.commits()) == [0, 1, 2]
    assert pod.message["checkpoint"]["index"] == 2


def test_sharded_checkpoints_of_all_ranks_become_one(tmp_path: Path) -> None:
    with job(tmp_path, workers=2) as two:
        pod = two.train(CHECKPOINTS)
    assert pod.process.returncode == 0, pod.log
    assert sorted(two.commits()[2]["files"]) == ["shard-0", "shard-1"]
    assert two.commits()[2]["ranks"] == [0, 1]
    assert (two.run / "checkpoint_000002/shard-1").read_text() == "2/1"
    assert two.commits()[2]["metrics"] == {"loss": 0.8}


def test_sigterm_lets_the_processes_save_and_stores_it(tmp_path: Path) -> None:
    with job(tmp_path, workers=2) as two:
        pod = two.start(
            two.script(
                """
                import pathlib, signal, sys, tempfile, time
                from paceline import train
                def save(*_):
                    with tempfile.TemporaryDirectory() as d:
                        pathlib.Path(d, "last").write_text("saved")
                        train.report({"loss": 0.5}, checkpoint=train.Checkpoint.from_directory(d))
                    sys.exit(0)
                signal.signal(signal.SIGTERM, save)
                train.report({"loss": 1.0})
                time.sleep(60)
                """
            )
        )
        wait_for(lambda: (s := pod.status()) and all(r["step"] == 1 for r in s["ranks"]))
        pod.terminate()
        assert pod.wait() == 143
    assert pod.message["outcome"] == "terminated"
    assert pod.message["failure"] is None
    assert (two.run / "checkpoint_000000/last").read_text() == "saved"
    assert list(two.commits()) == [0]


def test_sigterm_reaches_a_training_behind_a_shell(one: Job) -> None:
    one.script("import time, pathlib; pathlib.Path('up').touch(); time.sleep(60)")
    pod = one.start(["/bin/sh", "-c", "python3 train.py; echo after"])
    wait_for((one.directory / "up").exists)
    pod.terminate()
    begun = time.monotonic()
    assert pod.wait() == 143
    assert time.monotonic() - begun < 5


def test_a_process_that_outlives_sigterm_is_killed_before_the_grace_ends(one: Job) -> None:
    command = one.script(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf')\ntime.sleep(60)"
    )
    pod = one.start(command, PACELINE_GRACE_SECONDS="3")
    wait_for(lambda: "deaf" in pod.log)
    begun = time.monotonic()
    pod.terminate()
    assert pod.wait() == 143
    assert 1.5 < time.monotonic() - begun < 3


def test_a_process_that_failed_before_the_signal_failed_of_itself(one: Job) -> None:
    """As when a pod is deleted at the moment in which its worker fails: the agent hears of both at once."""
    pod = one.start(one.script("import time; time.sleep(600)"))
    (worker,) = wait_for(pod.worker_pids)
    pod.process.send_signal(signal.SIGSTOP)
    os.kill(worker, signal.SIGSEGV)
    wait_for(lambda: ") Z " in Path(f"/proc/{worker}/stat").read_text())
    pod.terminate()
    pod.process.send_signal(signal.SIGCONT)
    assert pod.wait() == 139, pod.log
    assert (pod.message["outcome"], pod.message["failure"]["signal"]) == ("failed", "SIGSEGV")


def test_what_a_process_fails_of_after_the_stop_stands_in_the_log(one: Job) -> None:
    pod = one.start(
        one.script(
            """
            import time
            from paceline import train
            while not train.should_stop():
                train.report({"step": 1})
                time.sleep(0.02)
            raise ValueError("the last checkpoint cannot be saved")
            """
        )
    )
    wait_for(lambda: (s := pod.status()) and s["ranks"][0]["step"])
    pod.terminate()
    assert pod.wait() == 143, pod.log
    assert (pod.message["outcome"], pod.message["failure"]) == ("terminated", None)
    assert "while the group ends: rank 0 exited 1: ValueError: the last checkpoint cannot be saved" in pod.log


def test_a_restart_resumes_from_the_latest_and_continues_the_files(tmp_path: Path) -> None:
    script = """
        import os, pathlib, tempfile
        from paceline import train
        start = 0
        if checkpoint := train.get_checkpoint():
            with checkpoint.as_directory() as d:
                start = int(pathlib.Path(d, "next").read_text())
        for i in range(start, 4):
            with tempfile.TemporaryDirectory() as d:
                pathlib.Path(d, "next").write_text(str(i + 1))
                train.report({"i": i}, checkpoint=train.Checkpoint.from_directory(d))
            if i == 1 and os.environ["PACELINE_ATTEMPT"] == "0":
                os._exit(3)
    """
    with job(tmp_path) as one:
        assert one.train(script).process.returncode == 3
        second = one.train(script, attempt=1)
    assert second.process.returncode == 0, second.log
    assert [(line["i"], line["attempt"], line["step"]) for line in one.results()] == [
        (0, 0, 1),
        (1, 0, 2),
        (2, 1, 3),
        (3, 1, 4),
    ]
    assert second.message["resumedFrom"]["index"] == 1
    assert [commit["attempt"] for commit in one.commits().values()] == [0, 0, 1, 1]
    assert not (one.run / ".paceline/error.json").exists()


def test_the_best_are_kept_and_the_latest_never_goes(one: Job) -> None:
    rule = '{"keep": 2, "scoreAttribute": "loss", "scoreOrder": "min"}'
    script = """
        import pathlib, tempfile
        from paceline import train
        for loss in (0.5, 0.1, 0.9, 0.2, 0.8):
            with tempfile.TemporaryDirectory() as d:
                pathlib.Path(d, "w").write_text("w")
                train.report({"loss": loss}, checkpoint=train.Checkpoint.from_directory(d))
    """
    pod = one.train(script, PACELINE_CHECKPOINTS=rule)
    assert list(one.commits()) == [1, 3, 4]
    assert sorted(p.name for p in one.run.glob("checkpoint_*")) == [f"checkpoint_00000{i}" for i in (1, 3, 4)]
    assert (pod.message["checkpoint"]["index"], pod.message["bestCheckpoint"]["index"]) == (4, 1)


def test_status_and_metrics_tell_where_the_run_is(one: Job) -> None:
    pod = one.start(one.script(STEPS.format(n=3) + "\n    import time; time.sleep(60)"))
    status = wait_for(lambda: (s := pod.status()) and s["ranks"][0]["step"] == 3 and s)
    assert (status["version"], status["job"], status["state"]) == (1, "job", "running")
    assert status["ranks"] == [
        {"rank": 0, "nodeRank": 0, "state": "running", "step": 3, "time": status["progress"]["time"], "exitCode": None}
    ]
    assert pod.get("/healthz") == "ok\n"
    assert 'paceline_agent_step{attempt="0",job_name="job"} 3.0' in pod.get("/metrics")


def test_a_checkpoint_without_storage_is_an_error_that_says_so(one: Job) -> None:
    pod = one.train(CHECKPOINTS, PACELINE_STORAGE_PATH="")
    assert pod.process.returncode == 1
    assert "this job has no storage" in pod.message["failure"]["message"]


def test_no_secret_value_is_told_anywhere(one: Job) -> None:
    secret = "hunter2-value"
    pod = one.start(one.script(STEPS.format(n=1) + "\n    import time; time.sleep(60)"), WANDB_API_KEY=secret)
    wait_for(lambda: (s := pod.status()) and s["progress"])
    told = pod.get("/status") + pod.get("/metrics")
    cmdline = Path(f"/proc/{pod.process.pid}/cmdline").read_text()
    for pid in pod.worker_pids():
        os.kill(pid, signal.SIGKILL)
    pod.wait()
    stored = "".join(p.read_text(errors="replace") for p in one.run.rglob("*") if p.is_file())
    assert secret not in told + cmdline + pod.log + json.dumps(pod.message) + stored


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_a_working_directory_that_cannot_be_written_is_replaced_by_links() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # pytest's own is closed to other users
        Path(directory).chmod(0o777)
        image = Path(directory, "image")
        image.mkdir()
        (image / "data.txt").write_text("here")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setuid(12345)
                made = workdir.writable(image, Path(directory, "work"))
                (made / "out.txt").write_text("written")
                code = 0 if (made.name, (made / "data.txt").read_text()) == ("work", "here") else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_in_a_tensorflow_job_tf_keras_is_the_one_that_can_train_where_it_is_installed(tmp_path: Path) -> None:
    """As in a pod whose image brings tf-keras and sets nothing. Which cases there are: test_keras_choice.py."""
    (tmp_path / "packages/tf_keras").mkdir(parents=True)
    (tmp_path / "packages/tf_keras/__init__.py").touch()
    path = os.pathsep.join([str(SDK), str(tmp_path / "packages")])
    with job(tmp_path, PYTHONPATH=path, TF_CONFIG='{"task": {"index": 0}}') as running:
        told = running.train("import os; print('keras:', os.environ.get('TF_USE_LEGACY_KERAS'))")
        assert "keras: 1" in told.log
