from __future__ import annotations

import asyncio
import time

import pytest

from paceline_operator.cluster.gate import Gate, Turn
from paceline_operator.cluster.workqueue import WorkQueue
from tests.support.timeouts import LOCAL_S


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def take(queue: WorkQueue) -> str | None:
    return await asyncio.wait_for(queue.get(), LOCAL_S)


async def test_a_key_is_queued_once() -> None:
    queue = WorkQueue()
    queue.add("a")
    queue.add("a")
    assert await take(queue) == "a"
    assert len(queue) == 0


async def test_a_key_is_held_by_one_worker_and_comes_back_when_it_changed_meanwhile() -> None:
    queue = WorkQueue()
    queue.add("a")
    await take(queue)
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await take(queue) == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_later_keys_come_in_time_and_the_earlier_time_counts(clock: Clock) -> None:
    queue = WorkQueue(clock)
    queue.add_after("late", 10)
    queue.add_after("late", 60)
    queue.add_after("soon", 5)
    clock.now = 10
    assert [await take(queue), await take(queue)] == ["soon", "late"]
    clock.now = 100
    queue.close()
    assert await take(queue) is None


async def test_a_new_look_voids_the_timer_of_the_last(clock: Clock) -> None:
    queue = WorkQueue(clock)
    queue.add_after("a", 5)
    queue.add("a")
    assert await take(queue) == "a"
    queue.done("a")
    clock.now = 6
    queue.add("b")
    assert await take(queue) == "b"
    assert len(queue) == 0


def test_retries_wait_longer_each_time_and_at_least_what_the_server_asks(clock: Clock) -> None:
    queue = WorkQueue(clock)
    waits = [queue.retry("a") for _ in range(12)]
    assert waits[0] <= 0.1
    assert waits[-1] <= 60
    assert waits[-1] > waits[0]
    assert queue.retry("b", 7.0) == 7.0
    queue.succeeded("a")
    assert queue.retry("a") <= 0.1


async def test_waiting_ends_when_the_queue_is_closed() -> None:
    queue = WorkQueue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.close()
    assert await asyncio.wait_for(waiting, LOCAL_S) is None


async def test_pods_go_before_what_can_wait_but_not_for_ever() -> None:
    clock = Clock()
    gate = Gate(1, clock)
    order: list[str] = []

    async def work(name: str, turn: Turn) -> None:
        async with gate.pass_(turn):
            order.append(name)
            await asyncio.sleep(0)

    async with gate.pass_(Turn.NOW):
        tasks = [asyncio.create_task(work("service", Turn.SOON))]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(work("pod", Turn.NOW)))
        await asyncio.sleep(0)
        clock.now = 5
        tasks.append(asyncio.create_task(work("late pod", Turn.NOW)))
        await asyncio.sleep(0)
        assert gate.busy
    await asyncio.gather(*tasks)
    assert order == ["pod", "service", "late pod"]
    assert not gate.busy


async def test_what_can_wait_leaves_free_places_to_pods_for_a_second() -> None:
    gate = Gate(3)

    async def service() -> None:
        async with gate.pass_(Turn.SOON):
            pass

    async with gate.pass_(Turn.NOW):
        waiting = asyncio.create_task(service())
        await asyncio.sleep(0.5 * Turn.SOON.value)
        assert not waiting.done()
        async with gate.pass_(Turn.NOW):
            await asyncio.wait_for(waiting, LOCAL_S)
    began = time.monotonic()
    async with gate.pass_(Turn.NOW):
        waiting = asyncio.create_task(service())
        await asyncio.sleep(0)
    await asyncio.wait_for(waiting, LOCAL_S)
    assert time.monotonic() - began < Turn.SOON.value, "with the last pod it goes"


async def test_who_gives_up_waiting_takes_no_place() -> None:
    gate = Gate(1)
    async with gate.pass_(Turn.NOW):
        waiting = asyncio.create_task(gate.pass_(Turn.NOW).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with gate.pass_(Turn.NOW):
        pass
