"""Staging on a small disk: a copy that does not fit waits for uploads that free space, or says what to do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import heldstore
from tests.support.agents import Job, job, wait_for

# Outside of temporary directories files are copied into the staging directory.
SAVE = """
    import os, pathlib, shutil, sys, time
    from paceline import train
    home = pathlib.Path(os.environ["WORK"])
    def save(i, size):
        d = home / f"save-{i}"
        d.mkdir(parents=True)
        (d / "model").write_bytes(bytes([i]) * size)
        train.report({"i": i}, checkpoint=train.Checkpoint.from_directory(d))
        print("reported", i, flush=True)
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(disk)], capture_output=True)
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def held(tmp_path: Path, small: Path) -> Iterator[Job]:
    (tmp_path / "hold").touch()
    work = Path("/var/lib/paceline-test") if os.getuid() == 0 else Path.home() / ".paceline-test"
    env = {
        **heldstore.environment(tmp_path),
        "WORK": str(work / str(os.getpid())),
        "PACELINE_AGENT_DIR": str(small / "agent"),
        "PACELINE_CHECKPOINTS": '{"maxPending": 9}',
    }
    with job(tmp_path, **env) as made:
        yield made
    subprocess.run(["rm", "-rf", env["WORK"]], check=True)


def test_a_copy_that_does_not_fit_waits_until_an_upload_has_freed_space(held: Job) -> None:
    pod = held.start(held.script(SAVE + "\n    for i in range(4):\n        save(i, 6_000_000)"))
    wait_for(lambda: "reported 1" in pod.log)
    assert "reported 2" not in pod.log
    (held.directory / "hold").unlink()
    assert pod.wait() == 0, pod.log
    assert [len((held.run / f"checkpoint_00000{i}/model").read_bytes()) for i in held.commits()] == [6_000_000] * 4


def test_a_checkpoint_that_can_never_fit_is_an_error_with_the_way_out(held: Job) -> None:
    (held.directory / "hold").unlink()
    pod = held.start(held.script(SAVE + "\n    save(0, 20_000_000)"))
    assert pod.wait() == 1
    message = pod.message["failure"]["message"]
    assert "no space to keep a checkpoint of 20000000 bytes" in message
    assert "give the pod more ephemeral storage" in message
    assert not list(held.commits())
