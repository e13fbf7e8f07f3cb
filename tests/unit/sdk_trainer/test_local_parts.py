"""The pure parts of a local run: how an attempt ended, GPUs, the environment, directories, the table."""

from __future__ import annotations

import io
import json
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import rich.console

from paceline.policy.backoff import PastFailure
from paceline.trainer import _gpus, _live, _outcome, _scratch, _surroundings


def told(outcome: str = "failed", **more: Any) -> bytes:
    failure = {"message": "boom", "type": "ValueError", "rank": 1, "exitCode": 1, "reason": more.pop("reason", "Error")}
    return json.dumps({"outcome": outcome, "failure": failure if outcome == "failed" else None, **more}).encode()


@pytest.mark.parametrize(
    ("message", "returncode", "kind", "said"),
    [
        (told("succeeded"), 0, "succeeded", None),
        (told("terminated"), 143, "terminated", None),
        (told(), 1, "failed", "rank 1 exited 1: ValueError: boom"),
        (None, -9, "failed", "the agent of the run was ended by SIGKILL"),
        (b"{half", -11, "failed", "the agent of the run was ended by SIGSEGV"),
        (b"[]", 1, "failed", "the agent of the run ended with code 1 and left no word"),
        (json.dumps({"outcome": "failed", "failure": None}).encode(), 3, "failed", "ended with code 3"),
    ],
)
def test_how_an_attempt_ended(message: bytes | None, returncode: int, kind: str, said: str | None) -> None:
    outcome = _outcome.read(message, returncode)
    assert outcome.kind == kind
    if said is None:
        assert outcome.failure is None
    else:
        assert outcome.failure is not None
        assert said in outcome.failure.sentence


@pytest.mark.parametrize(
    ("reason", "failed_before", "max_failures", "after_s"),
    [
        pytest.param("Error", 0, 0, None, id="none is allowed"),
        pytest.param("Error", 0, 1, 0.0, id="the first one at once"),
        pytest.param("Error", 1, 1, None, id="spent"),
        pytest.param("Error", 2, 5, 2.0, id="twice without progress, doubled"),
        pytest.param("Error", 40, -1, 300.0, id="without bound, five minutes at most"),
        pytest.param("AgentLost", 0, 1, 0.0, id="the agent was killed"),
        pytest.param("StorageError", 0, -1, None, id="no restart mends a store"),
        pytest.param("Fenced", 0, -1, None, id="another run has taken over"),
    ],
)
def test_what_follows_a_failure(reason: str, failed_before: int, max_failures: int, after_s: float | None) -> None:
    outcome = _outcome.read(told(reason=reason), 1)
    failures = [PastFailure(1000.0 + i) for i in range(failed_before)] + [_outcome.past(outcome, 1100.0)]
    decided = _outcome.next_try(outcome, failures, max_failures=max_failures)
    assert (None if decided is None else decided.after_s) == after_s


def test_the_history_counts_steps_since_the_newest_checkpoint() -> None:
    at: dict[str, Any] = {
        "progress": {"step": 17},
        "checkpoint": {"index": 2, "step": 12, "path": "/runs/r/checkpoint_000002"},
    }
    outcome = _outcome.read(told(**at), 1)
    assert _outcome.past(outcome, 5.0) == PastFailure(5.0, 2, 5)
    assert _outcome.past(_outcome.read(told(progress={"step": 3}), 1), 5.0) == PastFailure(5.0, None, 3)
    assert _outcome.past(_outcome.read(None, -9), 5.0) == PastFailure(5.0, None, None)
    said = _outcome.sentence(outcome, attempt=0, max_failures=3, after_s=4.0)
    assert said == "all workers start again in 4 s from step 12 (checkpoint_000002): restart 1 of 3"
    lost = _outcome.sentence(_outcome.read(None, -9), attempt=1, max_failures=-1, after_s=0.0)
    assert lost.endswith("was ended by SIGKILL; all workers start again from the start: restart 2")


@pytest.mark.parametrize(
    ("given", "devices"),
    [
        ("0,1,2", ("0", "1", "2")),
        ("3, GPU-8b2", ("3", "GPU-8b2")),
        ("", ()),
        ("-1", ()),
        ("1,-1,2", ("1",)),
        ("NoDevFiles", ("NoDevFiles",)),
    ],
)
def test_visible_gpus_are_those_that_cuda_would_take(given: str, devices: tuple[str, ...]) -> None:
    assert _gpus.visible({"CUDA_VISIBLE_DEVICES": given}) == devices


def test_gpus_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "gpus" / name).mkdir(parents=True)
    monkeypatch.setattr(_gpus, "_DRIVER", tmp_path / "gpus")
    assert _gpus.choose({}, workers=2, per_worker=1) == ("0", "1")
    assert _gpus.choose({"CUDA_VISIBLE_DEVICES": "5,6,7"}, workers=2, per_worker=1) == ("5", "6")
    assert _gpus.choose({}, workers=8, per_worker=0) == ()
    with pytest.raises(ValueError, match=r"asks for 6 GPUs \(3 workers with 2 each\).*has 2: use num_workers=1"):
        _gpus.choose({}, workers=3, per_worker=2)
    with pytest.raises(ValueError, match=r"asks for 1 GPU .*'' leaves 0: use_gpu=False"):
        _gpus.choose({"CUDA_VISIBLE_DEVICES": ""}, workers=1, per_worker=1)
    monkeypatch.setattr(_gpus, "_DRIVER", tmp_path / "none")
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: H200 (UUID: GPU-1)'\necho 'GPU 1: H200'\necho '  MIG 1g.18gb'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert _gpus.visible({}) == ("0", "1")
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    with pytest.raises(ValueError, match="and this machine has none"):
        _gpus.choose({}, workers=1, per_worker=1)


def test_the_environment_of_another_run_is_not_inherited() -> None:
    environ = {
        "HOME": "/h", "RANK": "3", "MASTER_PORT": "1", "TF_CONFIG": "{}", "PACELINE_RUN_ID": "x",
        "OMP_NUM_THREADS": "3", "PACELINE_STORAGE": "s3://b", "PACELINE_LOCAL_CACHE_DIR": "/c",
    }  # fmt: skip
    kept = _surroundings.inherited(environ)
    assert sorted(kept) == ["HOME", "OMP_NUM_THREADS", "PACELINE_LOCAL_CACHE_DIR", "PACELINE_STORAGE"]
    assert len(set(_surroundings.free_ports(20))) == 20


def test_other_processes_find_the_modules_of_this_one() -> None:
    stdlib, site = sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")
    given = ["", "/my/project", stdlib, f"{stdlib}/lib-dynload", site, "../lib", "/my/project", "/last"]
    assert _surroundings.python_path(given, "/here/now").split(os.pathsep) == [
        "/here/now", "/my/project", "/here/lib", "/last",
    ]  # fmt: skip
    ours = _surroundings.python_path(sys.path, "/").split(os.pathsep)
    assert not any("site-packages" in entry for entry in ours)


def test_scratch_of_a_killed_run_is_swept_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    run = tmp_path / "run"
    left = run / ".paceline/local-left"
    left.mkdir(parents=True)
    (left / "lock").touch()
    with _scratch.make(str(run)) as first:
        assert not left.exists()
        with _scratch.make(str(run)) as second:
            assert first.directory.exists()
            assert first.directory != second.directory
            assert (second.directory.stat().st_mode & 0o777) == 0o700
            (second.work / "model.pt").touch()
    assert sorted(str(p.relative_to(run)) for p in run.rglob("*")) == ["artifacts", "artifacts/model.pt"]
    with (
        pytest.raises(ValueError, match=r"local directory .* cannot be used .*set PACELINE_LOCAL_CACHE_DIR to a"),
        _scratch.make(str(run / "artifacts/model.pt/below")),
    ):
        pass


def test_the_table_tells_workers_metrics_checkpoint_and_restarts() -> None:
    status = {
        "state": "running",
        "ranks": [
            {"rank": r, "state": "failed" if r == 1 else "running", "step": r, "time": "2026-01-02T03:04:05Z"}
            for r in range(20)
        ],
        "progress": {"metrics": {"loss": 0.123456789, "val": {"acc": 1}}},
        "checkpoint": {"path": "s3://b/r/checkpoint_000004", "step": 40},
    }
    out = io.StringIO()
    terminal = rich.console.Console(file=out, width=100)
    terminal.print(_live.table(status, name="digits", restarts=1, max_failures=3, seconds=3725))
    terminal.print(_live.table({}, name="digits", restarts=0, max_failures=-1, seconds=0))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[0] == "digits   running   1:02:05   restarts 1 of 3"
    assert lines[3].split() == ["1", "failed", "1", "03:04:05"]
    assert "and 4 more workers" in lines
    assert "metrics      loss 0.123457   val/acc 1" in lines
    assert "checkpoint   checkpoint_000004 (step 40)" in lines
    assert "digits   starting   0:00:00   restarts 0" in lines
