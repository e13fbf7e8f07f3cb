"""SIGTERM before there is anything to end: the pod must not stay for the whole of its grace period."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agents import Job, job, wait_for

SLEEPS = "import time; time.sleep(60)"
# Of a grace period of 10 s.
SOON_S = 5


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Job]:
    with job(tmp_path, workers=2, per_pod=1) as made:
        yield made


def test_a_signal_during_the_imports_is_kept_until_the_agent_listens(two: Job) -> None:
    # The first process of a container would never see it: the kernel drops what such a process has no handler for.
    lead = two.start(two.script(SLEEPS))
    wait_for(lambda: holds_back(lead.process.pid, signal.SIGTERM))
    lead.terminate()
    assert lead.wait() == 143
    assert lead.message["outcome"] == "terminated"


def test_a_pod_that_holds_nothing_does_not_wait_for_a_lead_that_nobody_finds(two: Job) -> None:
    second = two.start(two.script(SLEEPS), pod=1)
    wait_for(lambda: "waiting for the lead" in second.log)
    second.terminate()
    begun = time.monotonic()
    assert second.wait() == 143
    assert time.monotonic() - begun < SOON_S


def test_nor_for_one_that_was_there_and_is_gone(two: Job) -> None:
    command = two.script(SLEEPS)
    lead, second = (two.start(command, pod=index) for index in range(2))
    wait_for(second.worker_pids)
    lead.process.kill()
    second.terminate()
    begun = time.monotonic()
    assert second.wait() == 143
    assert time.monotonic() - begun < SOON_S


def holds_back(pid: int, number: int) -> bool:
    """Whether the process has blocked a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (blocked,) = (line.split()[1] for line in lines if line.startswith("SigBlk:"))
    return bool(int(blocked, 16) >> (number - 1) & 1)
