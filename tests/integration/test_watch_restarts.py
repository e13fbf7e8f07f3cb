"""kopf against an API server that expires, forbids and fails: the watch of TrainJobs always comes back."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.client import Configuration

from paceline_operator.cluster.access import Access
from paceline_operator.handlers import supervisor as supervisors
from paceline_operator.handlers.supervisor import Supervisor

# kopf takes five seconds to end after a failure, more on busy cores.
BACK_S = 60.0
VERSION = "paceline.dev/v1alpha1"
JOBS = f"/apis/{VERSION}/trainjobs"
RESOURCE = {"name": "trainjobs", "singularName": "trainjob", "namespaced": True, "kind": "TrainJob",
            "verbs": ["get", "list", "watch", "patch"]}  # fmt: skip
# kopf waits until it knows this one.
NAMESPACES = {"name": "namespaces", "singularName": "namespace", "namespaced": False, "kind": "Namespace",
              "verbs": ["get", "list", "watch"]}  # fmt: skip
PAGES: dict[str, dict[str, Any]] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [NAMESPACES]},
    "/apis": {
        "kind": "APIGroupList",
        "groups": [
            {"name": "paceline.dev", "versions": [{"groupVersion": VERSION, "version": "v1alpha1"}],
             "preferredVersion": {"groupVersion": VERSION, "version": "v1alpha1"}},
        ],
    },
    f"/apis/{VERSION}": {"kind": "APIResourceList", "groupVersion": VERSION, "resources": [RESOURCE]},
}  # fmt: skip


class Server:
    """One TrainJob, and what goes wrong with the lists and watches of it."""

    def __init__(self) -> None:
        self.refuse_lists: list[int] = []
        self.lists = 0
        self.watches = 0
        self._end: asyncio.Event = asyncio.Event()
        self._last_words: list[dict[str, Any]] = []

    def end_watch(self, *events: dict[str, Any]) -> None:
        """Send these events to whoever watches, and close."""
        self._last_words = list(events)
        self._end.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path != JOBS:
            return web.json_response(PAGES.get(request.path, {}), status=200 if request.path in PAGES else 404)
        if "watch" in request.query:
            return await self._watch(request)
        self.lists += 1
        if self.refuse_lists:
            return _status(self.refuse_lists.pop(0))
        job = {"metadata": {"name": "digits", "namespace": "ml", "uid": "u", "resourceVersion": "5"}, "spec": {}}
        return web.json_response({"kind": "TrainJobList", "metadata": {"resourceVersion": "5"}, "items": [job]})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self.watches += 1
        await self._end.wait()
        self._end.clear()
        for event in self._last_words:
            await response.write(json.dumps(event).encode() + b"\n")
        return response


def _status(code: int) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "reason": "Wrong", "message": "no"}, status=code)


def error(code: int) -> dict[str, Any]:
    return {"type": "ERROR", "object": {"kind": "Status", "code": code, "reason": "Expired", "message": "too old"}}


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(BACK_S):
        while not what():  # noqa: ASYNC110 (what is waited for happens in another thread)
            await asyncio.sleep(0.02)


class Watched:
    """The supervisor under test and what it handed over."""

    def __init__(self, server: Server, supervisor: Supervisor, seen: list[str], types: list[str | None]) -> None:
        self.server = server
        self.supervisor = supervisor
        self.seen = seen
        self.types = types


@asynccontextmanager
async def watching(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(supervisors, "FIRST_BACKOFF_S", 0.05)
    server, seen, types = Server(), list[str](), list[str | None]()

    def feed(type: str | None, body: dict[str, Any]) -> None:
        types.append(type)
        seen.append(body["metadata"]["name"])

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    http = TestServer(app)
    await http.start_server()
    host = str(http.make_url("/")).rstrip("/")
    access = Access(host, False, Configuration(host=host))
    supervisor = Supervisor(access, [], feed)
    task = asyncio.create_task(supervisor.run())
    try:
        await until(lambda: server.watches == 1 and seen == ["digits"])
        yield Watched(server, supervisor, seen, types)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.end_watch()
        await http.close()
    assert [thread.name for thread in threading.enumerate() if thread.name == "kopf"] == [], "kopf did not end"


async def test_an_expired_watch_begins_again_with_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watching(monkeypatch) as watched:
        watched.server.end_watch(error(410))
        await until(lambda: watched.server.lists == 2 and watched.server.watches == 2)
        await until(lambda: len(watched.seen) == 2)
        assert watched.supervisor.problem == ""
        assert watched.types == [None, None], "what is listed has no type: it asks for a roll call"


@pytest.mark.parametrize("code", [403, 503])
async def test_a_watch_that_fails_is_started_again(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watching(monkeypatch) as watched:
        watched.server.end_watch(error(code))
        await until(lambda: watched.supervisor.restarts == 1)
        await until(lambda: watched.server.watches >= 2 and len(watched.seen) >= 2)
        await until(lambda: watched.supervisor.problem == "")


async def test_refused_lists_are_asked_for_again_until_they_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watching(monkeypatch) as watched:
        watched.server.refuse_lists = [403, 503, 500]
        watched.server.end_watch(error(410))
        await until(lambda: len(watched.seen) >= 2 and watched.server.watches >= 2)
        assert watched.server.refuse_lists == []
