"""Jobs that went while nobody watched are forgotten; those that are there, or that are newer than the list, are not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from paceline_operator.cluster import rollcall
from paceline_operator.cluster.client import METADATA_LIST, ApiError, UnreachableError
from paceline_operator.cluster.informer import PodStore
from paceline_operator.cluster.memory import Jobs
from paceline_operator.cluster.reconciler import Reconciler
from paceline_operator.cluster.rollcall import Present, RollCall
from paceline_operator.planning import Note
from paceline_operator.policies.config import JobDefaults
from tests.support.trainjobs import make_trainjob

ALL = "/apis/paceline.dev/v1alpha1/trainjobs"


class Server:
    """Answers lists: by path, pages of uids; all of version 10."""

    def __init__(self, pages: dict[str, list[list[str]]]) -> None:
        self.pages = pages
        self.asked: list[str] = []
        self.refuse: list[Exception] = []

    async def request(
        self, method: str, path: str, *, params: dict[str, str] | None = None, accept: str | None = None
    ) -> bytes:
        assert (method, accept) == ("GET", METADATA_LIST)
        assert params is not None
        self.asked.append(path)
        if self.refuse:
            raise self.refuse.pop(0)
        page = int(params.get("continue", "0"))
        items = [{"metadata": {"name": uid, "uid": uid}} for uid in self.pages[path][page]]
        more = str(page + 1) if page + 1 < len(self.pages[path]) else ""
        return json.dumps({"metadata": {"resourceVersion": "10", "continue": more}, "items": items}).encode()


class Rolls:
    """A roll call over what is remembered."""

    def __init__(self, server: Server, *jobs: Present, namespaces: tuple[str, ...] = ()) -> None:
        self.jobs = list(jobs)
        self.gone: list[str] = []
        self.call = RollCall(server, namespaces, lambda: self.jobs, self._forget)

    def _forget(self, key: str, uid: str) -> None:
        self.gone.append(uid)
        self.jobs = [job for job in self.jobs if (job.key, job.uid) != (key, uid)]


async def test_what_no_page_of_the_list_has_is_gone_unless_it_is_newer() -> None:
    server = Server({ALL: [["a"], ["b"]]})
    jobs = [Present(f"ml/{uid}", uid, version) for uid, version in (("a", 3), ("b", 3), ("c", 10), ("d", 11))]
    rolls = Rolls(server, *jobs)
    await rolls.call.look()
    assert rolls.gone == ["c"]
    assert server.asked == [ALL] * 2


async def test_a_job_made_anew_under_the_same_name_is_another() -> None:
    rolls = Rolls(Server({ALL: [["new"]]}), Present("ml/a", "old", 3))
    await rolls.call.look()
    assert rolls.gone == ["old"]


async def test_each_watched_namespace_is_asked_where_jobs_are_known() -> None:
    path = "/apis/paceline.dev/v1alpha1/namespaces/{}/trainjobs".format
    server = Server({path("one"): [[]], path("two"): [["b"]], path("three"): [[]]})
    rolls = Rolls(server, Present("one/a", "a", 3), Present("two/b", "b", 3), namespaces=("one", "two", "three"))
    await rolls.call.look()
    assert (rolls.gone, server.asked) == (["a"], [path("one"), path("two")])


async def test_it_is_called_after_a_list_and_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollcall, "SETTLES_S", 0.0)
    monkeypatch.setattr(rollcall, "RETRY_S", 0.01)
    server = Server({ALL: [[]]})
    server.refuse = [UnreachableError("no answer"), ApiError(500, "InternalError", "etcd")]
    rolls = Rolls(server, Present("ml/a", "a", 3))
    task = asyncio.create_task(rolls.call.run())
    await asyncio.sleep(0.05)
    assert server.asked == []
    rolls.call.soon()
    async with asyncio.timeout(5.0):
        while not rolls.gone:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    task.cancel()
    assert len(server.asked) == 3


class Silent:
    def post(self, job: Any, note: Note) -> None:
        pass


class Gone:
    """An API server that knows no job."""

    async def request(self, method: str, path: str, *_: Any, **__: Any) -> bytes:
        raise ApiError(404, "NotFound", path)


@pytest.mark.parametrize("spec", [{}, {"workers": {"count": "many"}}], ids=["readable", "unreadable"])
async def test_a_job_that_is_answered_with_not_found_is_forgotten(spec: dict[str, Any]) -> None:
    jobs = Jobs(PodStore(lambda key, owner: None))
    reconciler = Reconciler(Gone(), jobs, Silent(), JobDefaults())
    body = make_trainjob().suspended().obj().to_body()
    body["metadata"] |= {"uid": "a", "resourceVersion": "5", "generation": 1}
    body["spec"] |= spec
    key = reconciler.take(body)
    assert [job.uid for job in reconciler.remembered()] == ["a"]
    await reconciler.reconcile(key)
    assert list(reconciler.remembered()) == []
