"""The lead judges who is silent: by the time that it was awake itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paceline.agent.beat import Beat, Offer, RankState
from paceline.agent.config import AgentConfig
from paceline.agent.failure import Failure
from paceline.agent.lead import Lead


class Clock:
    """A clock that stands still between its steps."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def lead(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lead]:
    monkeypatch.setattr("paceline.agent.lead._TICK_S", 0.001)
    made = Lead(AgentConfig(("x",), tmp_path, world_size=2, storage_path=str(tmp_path / "storage")), clock=clock)
    await made.start()
    made.exchange(Beat("", 0, 1))
    serving = asyncio.create_task(made.serve())
    yield made
    serving.cancel()
    made.close()


async def pass_time(clock: Clock, seconds: float, *, step: float = 1.0) -> None:
    """Let the lead look after every step."""
    for _ in range(round(seconds / step)):
        clock.now += step
        await asyncio.sleep(0.02)


async def test_a_pod_is_given_up_after_its_silence(lead: Lead, clock: Clock) -> None:
    await pass_time(clock, 20)
    assert lead.failure is None
    await pass_time(clock, 1)
    assert lead.failure is not None
    assert lead.failure.message == "the agent of pod 1 has fallen silent for 21 s: look at that pod and its node"


async def test_a_lead_that_slept_gives_everybody_fresh_time(lead: Lead, clock: Clock) -> None:
    await pass_time(clock, 15)
    await pass_time(clock, 300, step=300)
    await pass_time(clock, 20)
    assert lead.failure is None
    await pass_time(clock, 1)
    assert lead.failure is not None


async def test_signs_of_life_hold_the_judgement(lead: Lead, clock: Clock) -> None:
    await pass_time(clock, 15)
    lead.felt(1)
    await pass_time(clock, 20)
    assert lead.failure is None
    await pass_time(clock, 1)
    assert lead.failure is not None


async def test_a_pod_is_given_up_also_where_the_attempt_ends_for_another_reason(lead: Lead, clock: Clock) -> None:
    lead.failure = first = Failure("exited with code 1", rank=0)
    offered = Beat("", 0, 0, (RankState(0, "failed", reports=1),), (Offer(0, 0, {"a": 1}),))
    await pass_time(clock, 19)
    lead.exchange(offered)
    assert not lead.idle, "pod 1 may still tell of its report"
    await pass_time(clock, 2)
    assert lead.idle
    assert lead.failure is first
