"""When is the lead through with its checkpoints?"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

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


FILES = {0: {"a": 1}, 1: {"b": 1}}  # of each rank in each round
STORED = {"size": 1, "crc32": "e8b7be43"}


def two_ranks(tmp_path: Path) -> tuple[LocalStorage, str, Rounds, Committing]:
    storage, run = LocalStorage(), str(tmp_path / "run")
    owner = attempts.begin(storage, run, run_id="run-1", attempt=0, token="t", time="")
    config = AgentConfig(command=("x",), directory=tmp_path / "agent", world_size=2)
    rounds = Rounds(range(2))
    return storage, run, rounds, Committing(config, Checkpoints(storage, run, owner), [], rounds, Reports())


async def offer(rounds: Rounds, committing: Committing, round_: int) -> None:
    for rank, files in FILES.items():
        rounds.seen(rank, round_ + 1)
        rounds.offered(round_, rank, files)
    await committing.advance()


@pytest.mark.parametrize(
    ("stored", "directories", "said"),
    [
        pytest.param("ab", [".paceline", "checkpoint_000000"], "", id="all is stored: it counts"),
        pytest.param("a", [".paceline"], "pod 1 is gone", id="the lost pod's file is lacking"),
        pytest.param("", [".paceline"], "pod 1 is gone", id="nothing is stored"),
    ],
)
async def test_what_becomes_of_a_checkpoint_on_its_way_when_a_pod_is_lost(
    tmp_path: Path, stored: str, directories: list[str], said: str
) -> None:
    storage, run, rounds, committing = two_ranks(tmp_path)
    await offer(rounds, committing, 0)
    for name in stored:
        storage.write(f"{run}/checkpoint_000000/{name}", b"a")
    committing.heard(Beat("run-1", 0, 0, stored={0: dict.fromkeys(stored, STORED)}))
    committing.lost([1], "pod 1 is gone")
    assert await committing.advance() == (not said)
    assert committing.idle
    assert committing.outcomes([0])[0].get("error", "") == said
    assert storage.directories(run) == directories


async def test_a_checkpoint_that_lacks_only_files_of_pods_that_live_is_waited_for(tmp_path: Path) -> None:
    storage, run, rounds, committing = two_ranks(tmp_path)
    await offer(rounds, committing, 0)
    storage.write(f"{run}/checkpoint_000000/b", b"a")
    committing.heard(Beat("run-1", 0, 1, stored={0: {"b": STORED}}))
    committing.lost([1], "pod 1 is gone")
    assert not await committing.advance()
    assert not committing.idle
    storage.write(f"{run}/checkpoint_000000/a", b"a")
    committing.heard(Beat("run-1", 0, 0, stored={0: {"a": STORED}}))
    assert await committing.advance()


async def test_an_offer_of_a_lost_pod_claims_no_number(tmp_path: Path) -> None:
    storage, run, rounds, committing = two_ranks(tmp_path)
    committing.lost([1], "pod 1 is gone")
    await offer(rounds, committing, 0)
    assert committing.settled == 0
    assert not list(storage.files(f"{run}/.paceline/claims"))
