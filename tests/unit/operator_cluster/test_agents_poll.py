"""The operator asks lead agents for their progress, over real HTTP."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.client import Configuration

from paceline_operator import contract
from paceline_operator.cluster import agents
from paceline_operator.cluster import pods as wire
from paceline_operator.cluster.access import Access
from paceline_operator.cluster.agents import AgentPoller
from paceline_operator.cluster.client import Client
from paceline_operator.cluster.informer import PodStore
from paceline_operator.cluster.memory import Jobs, Remembered
from tests.support.pods import T0
from tests.support.timeouts import LOCAL_S
from tests.support.trainjobs import make_trainjob

KEY = "ml/digits"
POLL_S = 0.01


def lead(job: str = "digits", *, ip: str = "127.0.0.1", attempt: int = 0, running: bool = True) -> wire.Pod:
    labels = {"paceline.dev/job": job, "paceline.dev/attempt": str(attempt), "paceline.dev/index": "0"}
    metadata = {
        "name": f"{job}-{attempt}-0",
        "namespace": "ml",
        "uid": f"pod-{job}-{attempt}",
        "resourceVersion": "1",
        "labels": labels,
        "ownerReferences": [{"uid": f"uid-{job}", "controller": True}],
    }
    status = {"phase": "Running" if running else "Pending", "podIP": ip}
    return wire.decode_pod(json.dumps({"metadata": metadata, "status": status}))


class Fleet:
    """Jobs and pods as the operator remembers them, and the keys that the poller put into the queue."""

    def __init__(self) -> None:
        self.store = PodStore(lambda key, owner: None)
        self.jobs = Jobs(self.store)
        self.queued: list[str] = []

    def add(self, name: str = "digits", **fields: Any) -> Remembered:
        job = make_trainjob(name).workers(2).obj().to_body()
        job["metadata"] |= {"uid": f"uid-{name}", "resourceVersion": "1"}
        self.store.put(lead(name, **fields))
        return self.jobs.put(job, T0)

    def poller(self, client: Client, poll_s: float = POLL_S) -> AgentPoller:
        return AgentPoller(client, self.jobs, self.store, self.queued.append, poll_s=poll_s)


class Agent:
    """A lead agent, or what answers in its place."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[], web.Response] = lambda: status(1)

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        return self.answer()


def status(step: int, attempt: int = 0) -> web.Response:
    return web.json_response({"version": 1, "attempt": attempt, "state": "running", "progress": {"step": step}})


@asynccontextmanager
async def serving(agent: Agent, monkeypatch: pytest.MonkeyPatch, *, in_cluster: bool) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_get("/{path:.*}", agent.handle)
    server = TestServer(app)
    await server.start_server()
    monkeypatch.setattr(contract, "AGENT_PORT", server.port)
    host = str(server.make_url("/")).rstrip("/")
    try:
        async with Client(Access(host, in_cluster, Configuration(host=host))) as client:
            yield client
    finally:
        await server.close()


@asynccontextmanager
async def running(poller: AgentPoller) -> AsyncIterator[None]:
    task = asyncio.create_task(poller.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(LOCAL_S):
        while not what():  # noqa: ASYNC110 (counts of a server, not an event)
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("in_cluster", "path"),
    [
        pytest.param(True, "/status", id="at the pod's address"),
        pytest.param(False, "/api/v1/namespaces/ml/pods/digits-0-0:{port}/proxy/status", id="through the API server"),
    ],
)
async def test_news_of_a_lead_puts_its_job_into_the_queue_once(
    in_cluster: bool, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, fleet = Agent(), Fleet()
    known = fleet.add()
    async with serving(agent, monkeypatch, in_cluster=in_cluster) as client, running(fleet.poller(client)):
        await until(lambda: len(agent.asked) >= 5)
        assert fleet.queued == [KEY]
        agent.answer = lambda: status(2)
        await until(lambda: len(fleet.queued) == 2)
    assert known.report is not None
    assert known.report.progress is not None
    assert (known.report.progress.step, known.report_attempt) == (2, 0)
    assert set(agent.asked) == {path.format(port=contract.AGENT_PORT)}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: status(7, attempt=3), id="of another attempt: the address has passed on"),
        pytest.param(lambda: web.Response(text="<h1>hello</h1>"), id="of another server"),
        pytest.param(lambda: web.Response(body=b"\xff\xfe"), id="no text"),
        pytest.param(lambda: web.Response(status=500), id="of an agent in trouble"),
        pytest.param(lambda: web.Response(body=b" " * (agents.MAX_ANSWER + 10)), id="without end"),
    ],
)
async def test_what_is_no_report_changes_nothing(
    answer: Callable[[], web.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, fleet = Agent(), Fleet()
    known = fleet.add()
    agent.answer = answer
    async with serving(agent, monkeypatch, in_cluster=True) as client, running(fleet.poller(client)):
        await until(lambda: len(agent.asked) >= 3)
    assert fleet.queued == []
    assert known.report is None


async def test_a_silent_lead_is_asked_ever_more_rarely_and_heard_when_it_speaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent, fleet = Agent(), Fleet()
    fleet.add()
    agent.answer = lambda: web.Response(status=503)
    async with serving(agent, monkeypatch, in_cluster=True) as client:
        poller = fleet.poller(client, poll_s=10.0)
        now, asked = 0.0, []
        while now < 2000:
            for key, known, pod in poller._to_ask(now):
                asked.append(now)
                poller._under_way.add(key)
                await _ask(poller, key, known, pod)
            now += 1
        waits = [later - earlier for earlier, later in itertools.pairwise(asked)]
        assert waits[0] <= 25
        assert all(later >= 1.4 * earlier for earlier, later in itertools.pairwise(waits[:4]))
        assert max(waits) <= agents.MAX_BACKOFF_S * 1.2
        agent.answer = lambda: status(1)
        (found,) = poller._to_ask(now + agents.MAX_BACKOFF_S * 1.2)
        await _ask(poller, *found)
    assert fleet.queued == [KEY]
    assert poller._silent == {}


async def _ask(poller: AgentPoller, key: str, known: Remembered, pod: Any) -> None:
    async with aiohttp.ClientSession() as session:
        await poller._ask(session, key, known, pod)


async def test_a_thousand_leads_are_asked_at_a_bounded_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet()
    for number in range(1000):
        fleet.add(f"job-{number}")
    async with serving(Agent(), monkeypatch, in_cluster=True) as client:
        poller = fleet.poller(client, poll_s=3.0)
        assert len(poller._to_ask(0.0)) == 1000
        asked = sum(len(poller._to_ask(float(second))) for second in range(1, 401))
    assert asked <= 1.15 * 400 * agents.POLLS_PER_S
    assert asked >= 0.8 * 400 * agents.POLLS_PER_S, "each of them is asked"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"running": False}, id="has not started"),
        pytest.param({"ip": ""}, id="has no address"),
        pytest.param({"attempt": 1}, id="is of another attempt"),
    ],
)
async def test_a_lead_that_cannot_answer_is_not_asked(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet()
    fleet.add(**fields)
    async with serving(Agent(), monkeypatch, in_cluster=True) as client:
        assert fleet.poller(client)._to_ask(0.0) == []


async def test_an_answer_that_comes_after_a_restart_of_the_group_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = Fleet()
    known = fleet.add()
    async with serving(Agent(), monkeypatch, in_cluster=True) as client:
        poller = fleet.poller(client)
        ((key, _, pod),) = poller._to_ask(0.0)
        status_of_next = known.job.status.model_copy(update={"attempt": 1})
        known.job = known.job.model_copy(update={"status": status_of_next})
        await _ask(poller, key, known, replace(pod))
    assert fleet.queued == []
