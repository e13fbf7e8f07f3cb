"""When is the lead through with its checkpoints?"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from paceline.agent import attempts
from paceline.agent.beat import Beat
from paceline.agent.commits import Checkpoints
from paceline.agent.committing import Committing
from paceline.agent.config import AgentConfig
from paceline.agent.reports import Reports
from paceline.agent.rounds import Rounds
from paceline.policy.retention import Retention
from paceline.storage._local import LocalStorage
from tests.support.timeouts import LOCAL_S


class SlowToDelete(LocalStorage):
    """A store whose deletions wait for a signal."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def delete_directory(self, directory: str) -> None:
        self.asked.set()
        assert self.go_on.wait(LOCAL_S)
        super().delete_directory(directory)


async def test_the_lead_is_not_idle_before_retention_is_through(tmp_path: Path) -> None:
    storage, run = SlowToDelete(), str(tmp_path / "run")
    owner = attempts.begin(storage, run, run_id="run-1", attempt=0, token="t", time="")
    config = AgentConfig(command=("x",), directory=tmp_path / "agent", retention=Retention(keep=1))
    rounds = Rounds(range(1))
    committing = Committing(config, Checkpoints(storage, run, owner), [], rounds, Reports())
    for round_ in range(2):
        rounds.seen(0, round_ + 1)
        rounds.offered(round_, 0, {"model": 3})
    await committing.advance()
    for round_ in range(2):
        storage.write(f"{run}/checkpoint_{round_:06d}/model", b"abc")
    stored: dict[int, Any] = {round_: {"model": {"size": 3, "crc32": "352441c2"}} for round_ in range(2)}
    committing.heard(Beat("run-1", 0, 0, stored=stored))

    work = asyncio.create_task(committing.advance())
    assert await asyncio.to_thread(storage.asked.wait, LOCAL_S)
    assert committing.settled == 1, "the other pods need not wait for deletions"
    assert not committing.idle
    storage.go_on.set()
    assert await work
    assert committing.idle
    assert storage.directories(run) == [".paceline", "checkpoint_000001"]
