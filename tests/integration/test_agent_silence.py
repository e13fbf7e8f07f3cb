"""Who is silent is given up, and nobody else: agents that slept, and agents that are busy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agents import Job, job, wait_for

STEPS = """
    import os, pathlib, time
    from paceline import train
    for i in range(10_000):
        train.report({"step": i})
        if pathlib.Path("enough").exists():
            break
        time.sleep(0.02)
"""
LIMIT_S = 2
NAP_S = 2 * LIMIT_S


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Job]:
    with job(tmp_path, workers=2, per_pod=1) as made:
        yield made


@pytest.mark.parametrize("who", [0, 1])
def test_an_agent_that_slept_does_not_take_the_other_for_lost(two: Job, who: int) -> None:
    command = two.script(STEPS)
    # Only the sleeper judges by a short limit: what it had not heard while it slept is no silence of the other's.
    short: dict[str, Any] = {"PACELINE_LEAD_LOST_SECONDS": str(LIMIT_S)}
    pods = [two.start(command, pod=i, **(short if i == who else {})) for i in range(2)]
    wait_for(lambda: (s := pods[0].status()) and all((r["step"] or 0) > 3 for r in s["ranks"]))
    pods[who].process.send_signal(signal.SIGSTOP)
    time.sleep(NAP_S)
    pods[who].process.send_signal(signal.SIGCONT)
    time.sleep(1.5 * LIMIT_S)
    assert [pod.process.poll() for pod in pods] == [None, None], pods[who].log
    (two.directory / "enough").touch()
    assert [pod.wait() for pod in pods] == [0, 0], pods[0].log + pods[1].log


@pytest.mark.parametrize("who", [0, 1])
def test_an_agent_that_does_not_wake_is_given_up_by_the_other(two: Job, who: int) -> None:
    command = two.script(STEPS)
    pods = [two.start(command, pod=i, PACELINE_LEAD_LOST_SECONDS=str(LIMIT_S)) for i in range(2)]
    wait_for(lambda: (s := pods[0].status()) and all((r["step"] or 0) > 3 for r in s["ranks"]))
    pods[who].process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    assert pods[1 - who].wait() == 75
    # Ending its own processes and storing what they reported comes on top, with this much grace.
    assert LIMIT_S * 0.9 < time.monotonic() - begun < LIMIT_S + 10
    pods[who].process.send_signal(signal.SIGCONT)


@pytest.mark.slow
def test_agents_that_store_a_gibibyte_on_two_loaded_cores_are_not_silent(two: Job) -> None:
    command = two.script(
        """
        import os, pathlib, tempfile
        from paceline import train
        rank = train.get_context().get_world_rank()
        block = os.urandom(1 << 20)
        with tempfile.TemporaryDirectory() as d:
            for part in range(8):
                with open(pathlib.Path(d, f"part-{rank}-{part}"), "wb") as f:
                    for _ in range(64):
                        f.write(block)
            train.report({"step": 1}, checkpoint=train.Checkpoint.from_directory(d), wait=True)
        """
    )
    load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 2)]
    try:
        pods = [two.start(command, pod=i, PACELINE_LEAD_LOST_SECONDS="5") for i in range(2)]
        assert [pod.wait(240) for pod in pods] == [0, 0], pods[0].log + pods[1].log
    finally:
        for process in load:
            process.kill()
            process.wait()
    assert sum(file["size"] for file in two.commits()[0]["files"].values()) == 1 << 30


SAVES_TWICE = """
    import pathlib, tempfile, time
    from paceline import train
    rank = train.get_context().get_world_rank()
    def save(step):
        with tempfile.TemporaryDirectory() as d:
            pathlib.Path(d, f"part-{rank}").write_text("x")
            checkpoint = train.Checkpoint.from_directory(d) if rank in (GIVERS,) else None
            train.report({"step": step}, checkpoint=checkpoint)
    save(1)
    while not pathlib.Path("go").exists():
        time.sleep(0.05)
    save(2)
    time.sleep(1000)
"""
GRACE_S = 60


@pytest.mark.parametrize(
    ("givers", "last"),
    [
        pytest.param("0, 1", 0, id="the lost pod's part is lacking: dropped at once"),
        pytest.param("0", 1, id="all that belongs to it is there: committed"),
    ],
)
def test_a_checkpoint_does_not_keep_the_lead_of_a_lost_pod_waiting(two: Job, givers: str, last: int) -> None:
    """The next attempt's lead waits for this one, as long as it says that it is storing something."""
    command = two.script(SAVES_TWICE.replace("GIVERS", givers))
    short: dict[str, Any] = {"PACELINE_LEAD_LOST_SECONDS": str(LIMIT_S), "PACELINE_GRACE_SECONDS": str(GRACE_S)}
    pods = [two.start(command, pod=i, **short) for i in range(2)]
    wait_for(two.commits)
    pods[1].process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    (two.directory / "go").touch()
    assert pods[0].wait() == 75, pods[0].log
    assert time.monotonic() - begun < LIMIT_S + GRACE_S / 4, pods[0].log
    assert pods[0].message["failure"]["reason"] == "AgentLost"
    assert max(two.commits()) == last, pods[0].log
    assert ("is dropped" in pods[0].log) == (not last)


def test_a_checkpoint_does_not_keep_a_lead_waiting_for_a_pod_that_was_killed(two: Job) -> None:
    """The operator deletes the pods of an attempt that has lost one; 20 s of silence are then not waited for."""
    command = two.script(SAVES_TWICE.replace("GIVERS", "0, 1"))
    pods = [two.start(command, pod=i, PACELINE_GRACE_SECONDS=str(GRACE_S)) for i in range(2)]
    wait_for(two.commits)
    workers = pods[1].worker_pids()
    for pid in (pods[1].process.pid, *workers):
        os.kill(pid, signal.SIGKILL)
    (two.directory / "go").touch()
    wait_for(lambda: (s := pods[0].status()) and s["ranks"][0]["step"] == 2)
    pods[0].terminate()
    begun = time.monotonic()
    assert pods[0].wait() == 143, pods[0].log
    assert time.monotonic() - begun < GRACE_S / 4, pods[0].log
    assert (list(two.commits()), pods[0].message["outcome"]) == ([0], "terminated")
    assert "is dropped: rank 1 ended before giving its files" in pods[0].log
