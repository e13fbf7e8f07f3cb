"""Training functions of the tests of local runs. Every worker imports this module, so it needs little itself."""

from __future__ import annotations

import functools
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paceline import train
from paceline.train import Checkpoint

_PATIENCE_S = 30.0


def save(step: int) -> Checkpoint:
    directory = Path(tempfile.mkdtemp(dir=os.environ["TMPDIR_OF_TEST"]))
    (directory / "step").write_text(str(step))
    return Checkpoint.from_directory(directory)


def first_step() -> int:
    checkpoint = train.get_checkpoint()
    if checkpoint is None:
        return 1
    with checkpoint.as_directory() as directory:
        return int((Path(directory) / "step").read_text()) + 1


def count(config: dict[str, Any]) -> None:
    """Counts to `steps`; at `trouble_at` of the first attempt, rank 1 meets its trouble. Every rank finds `rows`."""
    rank, attempt = train.get_context().get_world_rank(), os.environ["PACELINE_ATTEMPT"]
    if rows := config.get("rows"):
        batches = train.get_dataset_shard("train").iter_batches(batch_size=2)
        assert sum(len(batch["x"]) for batch in batches) == rows
    for step in range(first_step(), config["steps"] + 1):
        train.report({"sum": step * (step + 1) // 2}, checkpoint=save(step))
        if step == config.get("trouble_at") and rank == 1 and attempt == "0":
            wait_until(functools.partial(committed, step - 1))
            os.kill(os.getpid(), signal.SIGKILL)


def committed(index: int) -> bool:
    """Whether somebody else would see this checkpoint of the run."""
    return Path(train.get_context().get_trial_dir(), f"checkpoint_{index:06d}/.paceline.json").exists()


def look_around(config: dict[str, Any]) -> None:
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "CUDA_VISIBLE_DEVICES")
    heavy = {"pydantic", "typer", "rich", "pyarrow", "numpy", "kubernetes", "paceline.agent.agent", "paceline.cli"}
    Path(f"seen-by-{os.environ['RANK']}.json").write_text(
        json.dumps(
            {
                "env": {name: os.environ.get(name) for name in names},
                "omp": os.environ["OMP_NUM_THREADS"],
                "cwd": str(Path.cwd()),
                "argv": sys.argv[1:],
                "heavy": sorted(heavy & set(sys.modules)),
                "path": sys.path,
                "pid": os.getpid(),
                "name": train.get_context().get_experiment_name(),
                "collected": gc.isenabled(),
                "frozen": gc.get_freeze_count(),
            }
        )
    )
    print("rank", os.environ["RANK"], "sees", config["lr"])
    train.report({"lr": config["lr"], "loss": float("nan")})


def fail_in_rank_1() -> None:
    train.report({"loss": 1.5})
    Path(f"reported-{os.environ['RANK']}").touch()
    if os.environ["RANK"] == "1":
        wait_until(Path("reported-0").exists)
        raise LookupError("no such batch")
    time.sleep(60)


def start_a_run_in_a_worker() -> None:
    from paceline.trainer import Trainer

    Trainer(look_around).fit()


def kill_the_agent(config: dict[str, Any]) -> None:
    """In the attempts that are listed; in the others it leaves its helper behind, in a session of its own."""
    rank = os.environ["RANK"]
    helper = subprocess.Popen(["sleep", "600"], start_new_session=True)
    Path(config["pids"], f"{os.environ['PACELINE_ATTEMPT']}-{rank}").write_text(f"{os.getpid()} {helper.pid}")
    if os.environ["PACELINE_ATTEMPT"] in config["kills"]:
        wait_until(lambda: len(pids_in(Path(config["pids"]))) % 4 == 0)
        if rank == "0":
            os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)


def stop_the_agent() -> None:
    train.report({"loss": 1.0})
    if os.environ["RANK"] == "0":
        os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)


def pids_in(directory: Path) -> list[int]:
    return [int(pid) for file in directory.iterdir() for pid in file.read_text().split()]


def wait_until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)
