"""Are the run's own files in the store when the agent ends?"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from paceline.agent import attempts
from paceline.agent.commits import Checkpoints
from paceline.agent.reports import Report
from paceline.agent.runfiles import RunFiles
from paceline.agent.runsync import RunSync
from paceline.agent.takeover import RunDirectory
from paceline.storage import Storage
from paceline.storage._local import LocalStorage
from tests.support.timeouts import LOCAL_S


class SlowFiles(RunFiles):
    """Files whose first sync waits for a signal."""

    begun = threading.Event()
    go_on = threading.Event()

    def sync(self, storage: Storage, run: str) -> None:
        self.begun.set()
        assert self.go_on.wait(LOCAL_S)
        super().sync(storage, run)


async def test_a_sync_waits_for_the_one_that_is_at_work(tmp_path: Path) -> None:
    storage, run = LocalStorage(), str(tmp_path / "run")
    owner = attempts.begin(storage, run, run_id="run-1", attempt=0, token="t", time="")
    files = SlowFiles(tmp_path / "agent", attempt=0)
    files.open()
    files.report(Report({"loss": 1.0}, step=1, time=0.0, iteration=1))
    sync = RunSync(files, RunDirectory(storage, run, owner, Checkpoints(storage, run, owner)))

    after_commit = asyncio.create_task(sync.now())
    assert await asyncio.to_thread(files.begun.wait, LOCAL_S)
    at_the_end = asyncio.create_task(sync.now())
    await asyncio.sleep(0)
    assert not at_the_end.done()
    files.go_on.set()
    await at_the_end
    assert after_commit.done()
    assert b'"loss": 1.0' in storage.read(f"{run}/result.json")
    files.close()
