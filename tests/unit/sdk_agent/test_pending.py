"""Who waits, and for what: no agent, no store, and orders as values."""

from __future__ import annotations

import asyncio
from pathlib import Path

from paceline.agent.beat import Orders
from paceline.agent.failure import Failure
from paceline.agent.pending import Pending
from paceline.agent.staging import Staged


class Desk:
    """A `Pending` whose lead answers what the test says."""

    def __init__(self, max_pending: int = 2) -> None:
        self.orders = Orders(ready=True)
        self.asked = 0
        self.now = 0.0
        self.pending = Pending(max_pending, ask_lead=self._answer, clock=lambda: self.now)

    def _answer(self) -> None:
        self.asked += 1
        asyncio.get_running_loop().call_soon(self.pending.take_note, self.orders)

    def add(self, *rounds: int, rank: int = 0, size: int = 10) -> None:
        for round_ in rounds:
            self.pending.add(round_, rank, Staged(Path("/no/such/place"), {"m": (size, 0)}))

    def lead_says(self, **told: object) -> None:
        self.orders = Orders(ready=True, **told)  # type: ignore[arg-type]
        self.pending.take_note(self.orders)


async def soon() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_third_checkpoint_waits_until_one_is_settled() -> None:
    desk = Desk()
    desk.add(0, 1)
    desk.lead_says(reached=2)
    assert not desk.pending.has_room()
    waiting = asyncio.create_task(desk.pending.room())
    await soon()
    assert not waiting.done()
    desk.now = 5.0
    assert desk.pending.held_s == 5.0
    desk.lead_says(reached=2, settled=0)
    await soon()
    assert waiting.result() == ""
    desk.now = 9.0
    assert desk.pending.held_s == 5.0
    assert desk.pending.rounds == {1}


async def test_rounds_that_some_rank_has_not_reached_hold_nobody() -> None:
    desk = Desk()
    desk.add(0, 1, 2, 3)
    desk.lead_says(reached=1)
    assert await desk.pending.room() == ""
    assert desk.asked == 1


async def test_all_ranks_of_a_round_are_one_checkpoint() -> None:
    desk = Desk()
    for rank in (0, 1, 2):
        desk.add(0, rank=rank)
    assert desk.pending.has_room()
    assert (desk.pending.size_bytes, len(desk.pending)) == (30, 3)


async def test_who_waits_is_told_why_the_attempt_ends() -> None:
    desk = Desk()
    desk.add(0, 1)
    desk.lead_says(reached=2)
    room, outcome = asyncio.create_task(desk.pending.room()), asyncio.create_task(desk.pending.outcome(1))
    await soon()
    desk.lead_says(reached=2, stop=Failure("the bucket is gone"))
    await soon()
    assert room.result() == "the bucket is gone"
    assert "the run ended: the bucket is gone" in outcome.result()["error"]


async def test_an_outcome_is_asked_for_until_it_is_known() -> None:
    desk = Desk()
    desk.add(0)
    waiting = [asyncio.create_task(desk.pending.outcome(0)) for _ in range(2)]
    await soon()
    assert list(desk.pending.waiting) == [0]
    desk.lead_says(settled=0, outcomes={0: {"commit": {"index": 7}}})
    await soon()
    assert [task.result() for task in waiting] == [{"commit": {"index": 7}}] * 2
    assert not desk.pending.waiting


async def test_space_comes_free_with_the_next_settled_round_and_never_when_nothing_waits() -> None:
    desk = Desk()
    assert not await desk.pending.freed()
    desk.add(0, 1)
    desk.lead_says(reached=1)
    waiting = asyncio.create_task(desk.pending.freed())
    await soon()
    assert not waiting.done()
    desk.lead_says(reached=2, settled=0)
    await soon()
    assert waiting.result()


async def test_space_is_not_waited_for_while_only_a_rank_that_is_late_could_free_it() -> None:
    desk = Desk()
    desk.add(0)
    desk.lead_says(reached=0)
    waiting = asyncio.create_task(desk.pending.freed())
    await soon()
    desk.now = 31.0
    desk.lead_says(reached=0)
    await soon()
    assert waiting.result() is False
