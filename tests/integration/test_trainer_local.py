"""`Trainer(...).fit()` on this machine, with real agents and real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.fs
import pytest

from paceline import train
from paceline.train import (
    Checkpoint,
    FailureConfig,
    Result,
    RunConfig,
    ScalingConfig,
    SyncConfig,
    TrainingFailedError,
)
from paceline.trainer import Trainer
from paceline.trainer._local import GRACE_S
from tests.support.agents import SDK, wait_for
from tests.support.local_runs import (
    count,
    fail_in_rank_1,
    kill_the_agent,
    look_around,
    pids_in,
    start_a_run_in_a_worker,
    stop_the_agent,
)
from tests.support.timeouts import AGENT_RUN_S

TWO = ScalingConfig(num_workers=2)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of a test lies in the home directory, and none of its processes outlives it."""
    monkeypatch.setenv("PACELINE_STORAGE", str(tmp_path / "runs"))
    monkeypatch.setenv("PACELINE_LOCAL_CACHE_DIR", str(tmp_path / "cache"))
    yield
    for pid in with_run_id():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# --- the run as it should be --------------------------------------------------------------------


def test_every_worker_is_called_in_the_directory_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "7")  # left by somebody else
    monkeypatch.setenv("TF_CONFIG", "{}")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    # What an earlier run has left there is no module of anybody.
    (tmp_path / "cache/digits/artifacts").mkdir(parents=True)
    (tmp_path / "cache/digits/artifacts/json.py").write_text("raise RuntimeError('imported')")
    run = RunConfig(name="digits", sync_config=SyncConfig(sync_artifacts=True))
    result = Trainer(look_around, train_loop_config={"lr": 0.5, "fn": len}, scaling_config=TWO, run_config=run).fit()
    assert result.path == str(tmp_path / "runs/digits")
    assert result.error is None
    assert result.metrics is not None
    assert (result.metrics["lr"], result.metrics["attempt"]) == (0.5, 0)
    assert result.config is not None
    assert result.config["train_loop_config"] == {"lr": 0.5, "fn": "<built-in function len>"}
    assert result.config["train_fn"] == "local_runs.py:look_around"
    seen = [json.loads((tmp_path / f"runs/digits/artifacts/seen-by-{rank}.json").read_text()) for rank in (0, 1)]
    for rank, it in enumerate(seen):
        assert it["env"] == {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "NODE_RANK": "0",
            "MASTER_ADDR": "127.0.0.1", "CUDA_VISIBLE_DEVICES": "",
        }  # fmt: skip
        assert it["omp"] == str(max(1, len(os.sched_getaffinity(0)) // 2))
        assert (it["cwd"], it["name"]) == (str(tmp_path / "cache/digits/artifacts"), "digits")
        assert (it["argv"], it["heavy"]) == ([], [])
        # Garbage is collected, but modules are never looked through for it.
        assert (it["collected"], it["frozen"] > 10_000) == (True, True)
        assert str(tmp_path) in it["path"]
    assert seen[0]["pid"] != seen[1]["pid"]
    # Nothing but what the workers wrote is left on this machine; the caller keeps its own environment.
    assert sorted(p.name for p in (tmp_path / "cache/digits").iterdir()) == ["artifacts"]
    assert os.environ["RANK"] == "7"
    out, err = capsys.readouterr()
    assert sorted(out.splitlines()) == ["[rank 0] rank 0 sees 0.5", "[rank 1] rank 1 sees 0.5"]
    assert f"kept in {tmp_path}/runs/digits" in err
    assert f"working directory, where relative paths lie: {tmp_path}/cache/digits/artifacts" in err


def test_a_killed_worker_costs_no_step_and_the_same_name_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TMPDIR_OF_TEST", str(tmp_path))
    run = RunConfig(name="counting", failure_config=FailureConfig(max_failures=2))

    def fit(**config: int) -> Result:
        return Trainer(count, train_loop_config=config, scaling_config=TWO, run_config=run).fit()

    result = fit(steps=4, trouble_at=3)
    assert result.error is None
    assert result.metrics is not None
    assert (result.metrics["sum"], result.metrics["attempt"]) == (10, 1)
    assert read_step(result) == 4
    lines = [json.loads(line) for line in Path(result.path, "result.json").read_text().splitlines()]
    assert {line["sum"] for line in lines} == {1, 3, 6, 10}
    assert [line["attempt"] for line in lines] == sorted(line["attempt"] for line in lines)
    again = Result.from_path(result.path)
    assert (again.metrics, again.checkpoint, again.config) == (result.metrics, result.checkpoint, result.config)
    said = capsys.readouterr().err
    assert "rank 1 was ended by SIGKILL" in said
    assert "restart 1 of 2" in said
    assert "all workers start again from step" in said
    # The run is as long as it would have been, so there is nothing to do but the new steps.
    longer = fit(steps=5)
    assert longer.metrics is not None
    assert longer.metrics["sum"] == 15
    assert len(Path(result.path, "result.json").read_text().splitlines()) == len(lines) + 1


def read_step(result: Result) -> int:
    assert result.checkpoint is not None
    with result.checkpoint.as_directory() as directory:
        return int((Path(directory) / "step").read_text())


def test_a_run_in_a_given_filesystem_starts_from_a_given_checkpoint_and_reads_a_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR_OF_TEST", str(tmp_path))
    (tmp_path / "start").mkdir()
    (tmp_path / "start/step").write_text("7")
    (tmp_path / "store/bucket").mkdir(parents=True)
    run = RunConfig(
        name="r",
        storage_path="bucket",
        storage_filesystem=pyarrow.fs.SubTreeFileSystem(str(tmp_path / "store"), pyarrow.fs.LocalFileSystem()),
    )
    start = Checkpoint(tmp_path / "start")
    result = Trainer(
        count,
        train_loop_config={"steps": 9, "rows": 5},
        scaling_config=TWO,
        run_config=run,
        datasets={"train": pyarrow.table({"x": range(10)})},
        resume_from_checkpoint=start,
    ).fit()
    assert result.path == "bucket/r"
    assert result.metrics_dataframe is not None
    assert list(result.metrics_dataframe["sum"]) == [36, 45]
    assert read_step(result) == 9
    assert (tmp_path / "store/bucket/r/checkpoint_000001/step").read_text() == "9"


# --- failures -----------------------------------------------------------------------------------


def test_a_failing_function_raises_with_rank_and_traceback() -> None:
    with pytest.raises(TrainingFailedError, match="rank 1 failed: LookupError: no such batch") as caught:
        Trainer(fail_in_rank_1, scaling_config=TWO).fit()
    error = caught.value
    assert (error.rank, error.type, error.exit_code, error.attempt) == (1, "LookupError", 1, 0)
    assert error.traceback is not None
    lines = error.traceback.splitlines()
    assert "in fail_in_rank_1" in lines[1], "the first frame is the user's"
    assert lines[-1] == "LookupError: no such batch"
    assert error.path is not None
    assert f"What the run has made until then is in {error.path}" in str(error)
    result = Result.from_path(error.path)
    assert result.metrics is not None
    assert result.metrics["loss"] == 1.5
    assert str(result.error) in str(error)


def test_what_no_restart_can_mend_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, where runs are to be stored")
    with pytest.raises(TrainingFailedError, match=r"\((StorageError|InvalidConfig)\)") as caught:
        Trainer(fail_in_rank_1, run_config=RunConfig(failure_config=FailureConfig(max_failures=-1))).fit()
    assert str(tmp_path / "runs") in str(caught.value)
    (tmp_path / "runs").unlink()
    with pytest.raises(TrainingFailedError, match=r"fit\(\) was called in a worker of the run"):
        Trainer(start_a_run_in_a_worker).fit()


def test_a_run_that_is_stopped_from_outside_says_so() -> None:
    with pytest.raises(
        TrainingFailedError, match=r"was stopped from outside .*RunConfig\(name='r'\) goes on"
    ) as caught:
        Trainer(stop_the_agent, scaling_config=TWO, run_config=RunConfig(name="r")).fit()
    assert caught.value.path is not None
    result = Result.from_path(caught.value.path)
    assert (result.error, result.metrics is not None) == (None, True)


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}/stat").exists() and state(pid) != "Z"]


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_nothing_outlives_a_killed_agent(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()

    def fit(kills: list[str], max_failures: int) -> Result:
        run = RunConfig(name="r", failure_config=FailureConfig(max_failures=max_failures))
        config = {"pids": str(pids), "kills": kills}
        return Trainer(kill_the_agent, train_loop_config=config, scaling_config=TWO, run_config=run).fit()

    assert fit(["0"], 1).error is None
    assert len(pids_in(pids)) == 8
    assert alive(pids_in(pids)) == []
    with pytest.raises(TrainingFailedError, match="the agent of the run was ended by SIGKILL") as caught:
        fit(["0"], 0)
    assert (caught.value.reason, caught.value.exit_code) == ("AgentLost", 137)
    assert alive(pids_in(pids)) == []
    kept = Result.from_path(tmp_path / "runs/r").error
    assert kept is not None
    assert kept.reason == "AgentLost"


# --- the caller's end ---------------------------------------------------------------------------

HEAD = """
import os, pickle, signal, subprocess, sys, tempfile, time
from pathlib import Path
from paceline import train
from paceline.train import Checkpoint, RunConfig, ScalingConfig
from paceline.trainer import Trainer
PIDS = Path(os.environ["PIDS"])
"""


class Script:
    """A script of a user, started as `python script.py`."""

    def __init__(self, directory: Path, text: str) -> None:
        self.directory = directory
        self.pids = directory / "pids"
        self.pids.mkdir()
        (directory / "project").mkdir()
        self.path = directory / "project/train_it.py"
        self.path.write_text(HEAD + textwrap.dedent(text))
        self._out = directory / "out"

    def start(self) -> subprocess.Popen[bytes]:
        env = {**os.environ, "PIDS": str(self.pids), "PYTHONPATH": str(SDK)}
        with self._out.open("wb") as out:
            return subprocess.Popen(
                # Whatever runs the tests in the background may ignore SIGINT, and that is inherited.
                ["env", "--default-signal=INT", sys.executable, str(self.path)],
                env=env,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    def started(self, count: int) -> list[int]:
        """Processes that the workers have told, once there are as many."""

        def all_told() -> bool:
            return len(list(self.pids.iterdir())) == count and len(pids_in(self.pids)) == 2 * count

        wait_for(all_told)
        return pids_in(self.pids)


STUBBORN = """
def train_fn():
    helper = subprocess.Popen(["sleep", "600"])
    if STUBBORN: signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "state").write_text("1")
        train.report({"loss": 1.0}, checkpoint=Checkpoint(directory))
    (PIDS / os.environ["RANK"]).write_text(f"{os.getpid()} {helper.pid}")
    time.sleep(600)

if __name__ == "__main__":
    Trainer(train_fn, scaling_config=ScalingConfig(num_workers=2), run_config=RunConfig(name="r")).fit()
"""


def with_run_id() -> list[int]:
    """Processes of any run of this test, agents too: the name of the cache is in their environment."""
    mark = os.environ["PACELINE_LOCAL_CACHE_DIR"].encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes():
                found.append(int(process.name))
    return [pid for pid in alive(found) if pid != os.getpid()]


@pytest.mark.parametrize("signals", [["KILL"], ["INT"], ["INT", "INT"], ["TERM"]], ids="+".join)
def test_nothing_outlives_the_caller(tmp_path: Path, signals: list[str]) -> None:
    script = Script(tmp_path, f"STUBBORN = {len(signals) > 1}" + STUBBORN)
    caller = script.start()
    pids = script.started(2)
    assert len(alive(pids)) == 4
    assert len(with_run_id()) == 6, "the caller, the agent, two workers, and a helper of each"
    began = time.monotonic()
    for name in signals:
        caller.send_signal(getattr(signal, f"SIG{name}"))
        time.sleep(0.5)
    code = caller.wait(AGENT_RUN_S)
    wait_for(lambda: not with_run_id())
    if len(signals) > 1:
        assert time.monotonic() - began < 0.5 * GRACE_S, "workers that ignore SIGTERM have 60 % of it otherwise"
    assert alive(pids) == []
    assert code == -getattr(signal, f"SIG{signals[0]}"), script.out
    if signals[0] == "INT":
        assert "Ctrl-C: the workers end, and what they reported is stored" in script.out
    if signals != ["INT", "INT"]:
        # What was reported is stored, though nobody waits for it any more.
        result = Result.from_path(tmp_path / "runs/r")
        assert result.checkpoint is not None
        assert not list((tmp_path / "cache/r/.paceline").glob("local-*/attempt-*"))


# --- where functions come from ------------------------------------------------------------------


def test_functions_of_scripts_modules_beside_them_and_notebooks(tmp_path: Path) -> None:
    script = Script(
        tmp_path,
        """
        import helpers
        from helpers import imported

        LOCAL = 20

        class Model:
            scale = LOCAL

        def in_main(config):
            import helpers as again  # the script's directory is on the path
            assert again.scale(2) == 6
            for made in (Model(), helpers.Net()):  # by plain pickle, as torch.save and multiprocessing do
                assert type(pickle.loads(pickle.dumps(made))) is type(made)
            train.report({"x": helpers.scale(config["x"]) + Model.scale})

        def told(fn, **more):
            run = RunConfig(name=f"run-{fn.__name__}")
            result = Trainer(fn, scaling_config=ScalingConfig(num_workers=2), run_config=run, **more).fit()
            print("told", fn.__name__, result.metrics["x"], result.config["train_fn"], flush=True)

        cell = "def in_cell(config):\\n    from paceline import train\\n    train.report({'x': config['x'] * LOCAL})"
        notebook = {"LOCAL": 5, "__name__": "__main__"}
        exec(compile(cell, "<ipython-input-1>", "exec"), notebook)

        # Without a guard: a worker that imported this script again would start a run of its own.
        told(in_main, train_loop_config={"x": 1})
        told(imported, train_loop_config={"x": 1})
        told(notebook["in_cell"], train_loop_config={"x": 2})
        """,
    )
    (tmp_path / "project/helpers.py").write_text(
        "FACTOR = 3\n"
        "class Net: pass\n"
        "def scale(x):\n    return FACTOR * x\n"
        "def imported(config):\n"
        "    from paceline import train\n"
        "    train.report({'x': scale(config['x']) + 100})\n"
    )
    code = script.start().wait(AGENT_RUN_S)
    assert code == 0, script.out
    assert [line.split()[1:] for line in script.out.splitlines() if line.startswith("told")] == [
        ["in_main", "23", "train_it.py:in_main"],
        ["imported", "103", "helpers.py:imported"],
        ["in_cell", "10", "train_it.py:in_cell"],
    ]


# --- in this process ----------------------------------------------------------------------------


def test_in_process_the_function_runs_here_and_the_result_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR_OF_TEST", str(tmp_path))
    before, environ = Path.cwd(), dict(os.environ)
    ran: list[tuple[int, str, int]] = []

    def here(config: dict[str, Any]) -> None:
        ran.append((os.getpid(), str(Path.cwd()), train.get_context().get_world_size()))
        count(config)
        train.report({"sum": -1, "stop": train.should_stop()})

    run = RunConfig(name="debug")
    trainer = Trainer(here, train_loop_config={"steps": 3}, scaling_config=TWO, run_config=run)
    result = trainer.fit(in_process=True)
    assert ran == [(os.getpid(), str(tmp_path / "cache/debug/artifacts"), 1)]
    assert result.metrics is not None
    assert (result.metrics["sum"], result.metrics["stop"], read_step(result)) == (-1, False, 3)
    assert result.config is not None
    assert result.config["train_loop_config"] == {"steps": 3}
    assert (Path.cwd(), dict(os.environ)) == (before, environ)
    assert train.get_context().get_world_size() == 1
    train.report({"dropped": 1})  # outside again: no worker of any run

    def wrong() -> None:
        raise LookupError("no such batch")

    with pytest.raises(TrainingFailedError, match="rank 0 failed: LookupError: no such batch") as caught:
        Trainer(wrong, run_config=run).fit(in_process=True)
    assert isinstance(caught.value.__cause__, LookupError)
    assert "in wrong" in str(caught.value.traceback)
    assert str(Result.from_path(result.path).error) in str(caught.value)
    assert (Path.cwd(), dict(os.environ)) == (before, environ)


def test_a_breakpoint_in_the_function_stops_there(tmp_path: Path) -> None:
    script = Script(
        tmp_path,
        """
        def train_fn(config):
            answer = config["x"] * 7
            breakpoint()
            train.report({"answer": answer})

        result = Trainer(train_fn, train_loop_config={"x": 6}).fit(in_process=True)
        print("the result has", result.metrics["answer"])
        """,
    )
    done = subprocess.run(
        [sys.executable, str(script.path)],
        env={**os.environ, "PIDS": "", "PYTHONPATH": str(SDK)},
        input="p 'stopped with', answer\nanswer += 1\nc\n",
        capture_output=True,
        text=True,
        timeout=AGENT_RUN_S,
    )
    assert "('stopped with', 42)" in done.stdout, done.stderr
    assert "the result has 43" in done.stdout, done.stderr


# --- what is shown ------------------------------------------------------------------------------


def test_a_terminal_shows_a_table(tmp_path: Path) -> None:
    import pty

    script = Script(
        tmp_path,
        """
        def train_fn():
            print("a line of a worker")
            for step in range(8):
                train.report({"loss": 1 / (step + 1)})
                time.sleep(0.2)

        Trainer(train_fn, scaling_config=ScalingConfig(num_workers=2), run_config=RunConfig(name="shown")).fit()
        """,
    )
    ours, theirs = pty.openpty()
    caller = subprocess.Popen(
        [sys.executable, str(script.path)],
        env={**os.environ, "PIDS": "", "PYTHONPATH": str(SDK), "TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:  # the other end is closed
        pass
    assert caller.wait(AGENT_RUN_S) == 0, shown.decode()
    text = shown.decode()
    for expected in (
        "[rank 1] a line of a worker",
        "restarts 0 of 0",
        "running",
        "metrics      loss 0.",
        "last report",
    ):
        assert expected in text, text
    assert "[paceline] step" not in text


def _never(config: dict[str, Any]) -> None:
    raise AssertionError("nothing shall be started")


@pytest.mark.parametrize(
    ("how", "asked", "said"),
    [
        ({"scaling_config": ScalingConfig(use_gpu=True)}, {}, "asks for 1 GPU .*leaves 0: use_gpu=False trains on"),
        (
            {"scaling_config": ScalingConfig(num_workers=2, placement_strategy="STRICT_SPREAD")},
            {},
            "'STRICT_SPREAD', a machine for each of 2 workers.*use 'PACK'",
        ),
        ({}, {"detach": True}, r"fit\(detach=True\) on this machine: the workers end with this process"),
        ({}, {"detach": True, "in_process": True}, "cannot go on without it"),
    ],
)
def test_what_cannot_be_run_here_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Any, asked: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    fit: Callable[..., Any] = Trainer(_never, **how).fit
    with pytest.raises(ValueError, match=said):
        fit(**asked)
    assert list(tmp_path.iterdir()) == []
