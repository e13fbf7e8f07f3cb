"""PodGroups as the operator makes, finds and deletes them, against a small API server that can die with any write."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from paceline_operator.cluster import podgroups
from paceline_operator.cluster import pods as wire
from paceline_operator.cluster.client import ApiError, UnreachableError
from paceline_operator.cluster.informer import PodStore
from paceline_operator.cluster.memory import Jobs
from paceline_operator.cluster.podgroups import PodGroups
from paceline_operator.cluster.reconciler import Reconciler
from paceline_operator.cluster.services import ServiceStore
from paceline_operator.planning import Note
from paceline_operator.policies.config import JobDefaults
from tests.support.pods import T0
from tests.support.timeouts import LOCAL_S
from tests.support.trainjobs import TrainJobBuilder, make_trainjob

JOB = "/apis/paceline.dev/v1alpha1/namespaces/ml/trainjobs/digits"
GROUPS = "/apis/scheduling.k8s.io/v1alpha2/namespaces/ml/podgroups"
ALL_GROUPS = "/apis/scheduling.k8s.io/v1alpha2/podgroups"
PODS = "/api/v1/namespaces/ml/pods"
SERVICES = "/api/v1/namespaces/ml/services"


UNSERVED = ApiError(404, "NotFound", "the server could not find the requested resource")


class DeadError(BaseException):
    """The operator died."""


class Server:
    """Objects by path; `refuse` answers a method and path, `dies_after` counts writes."""

    def __init__(self, job: TrainJobBuilder) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 0
        self.writes: list[str] = []
        self.gets: list[str] = []
        self.refuse: dict[tuple[str, str], ApiError] = {}
        self.dies_after = 0
        self.lose: dict[tuple[str, str], bool] = {}
        """Method and path of requests without an answer, and whether they are carried out."""
        body = job.obj().to_body()
        body["metadata"] |= {"uid": "uid-job", "generation": 1}
        self._store(JOB, body)

    def names(self, path: str) -> list[str]:
        return sorted(key.rsplit("/", 1)[1] for key in self.objects if key.startswith(f"{path}/"))

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.objects[JOB].get("status") or {}
        return found

    def say(self, pod: str, **status: Any) -> None:
        body = self.objects[f"{PODS}/{pod}"]
        self._store(f"{PODS}/{pod}", {**body, "status": {**body.get("status", {}), **status}})

    async def request(
        self, method: str, path: str, body: bytes | None = None, *, params: Any = None,
        content_type: str = "", timeout_s: float | None = None,
    ) -> bytes:  # fmt: skip
        if method == "GET":
            self.gets.append(path)
        else:
            self.writes.append(f"{method} {path}")
        if (error := self.refuse.get((method, path))) is not None:
            raise error
        lost = self.lose.get((method, path))
        if lost is False:
            raise UnreachableError("connection refused")
        answer = json.dumps(self._answer(method, path, json.loads(body or b"{}"))).encode()
        if lost:
            raise UnreachableError("connection reset")
        if method != "GET" and self.dies_after:
            self.dies_after -= 1
            if not self.dies_after:
                raise DeadError
        return answer

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path.endswith("podgroups") and method == "GET":
            items = [deepcopy(found) for key, found in self.objects.items() if key.startswith(f"{GROUPS}/")]
            return {"metadata": {}, "items": items}
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                raise ApiError(409, "AlreadyExists", "there already")
            if path.startswith(PODS) and (group := body["spec"].get("schedulingGroup")):
                assert f"{GROUPS}/{group['podGroupName']}" in self.objects, "a pod before its PodGroup"
            return self._store(path, body)
        if path.removesuffix("/status") not in self.objects:
            raise ApiError(404, "NotFound", f"{path} not found", name=path.rsplit("/", 1)[1])
        if method == "PATCH":
            found = self.objects[path.removesuffix("/status")]
            merged = {**(found.get("status") or {}), **body["status"]}
            return self._store(JOB, {**found, "status": {k: v for k, v in merged.items() if v is not None}})
        found = self.objects[path]
        if method == "DELETE":
            assert body["preconditions"]["uid"] == found["metadata"]["uid"]
            del self.objects[path]
        return deepcopy(found)

    def _store(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        body = deepcopy(body)
        body["metadata"].setdefault("uid", f"uid-{self.version}")
        body["metadata"] |= {"resourceVersion": str(self.version), "creationTimestamp": T0.isoformat()}
        self.objects[path] = body
        return deepcopy(body)


class Silent:
    def post(self, job: Any, note: Note) -> None:
        pass


class Operator:
    """One process, from its start."""

    def __init__(self, server: Server, seconds: float = 0) -> None:
        self.server = server
        self.seconds = seconds
        self.pods = PodStore(lambda key, owner: None)
        self.told_again: list[str] = []
        self.groups = PodGroups(server, again=self.told_again.append)
        now = lambda: T0 + timedelta(seconds=self.seconds)  # noqa: E731
        self.services = ServiceStore(lambda key: None)
        jobs = Jobs(self.pods, self.services)
        self.reconciler = Reconciler(server, jobs, Silent(), JobDefaults(), groups=self.groups, now=now)

    def show(self) -> None:
        """Let its watches tell what there is."""
        for path, store in ((PODS, self.pods), (SERVICES, self.services)):
            shown = [body for key, body in self.server.objects.items() if key.startswith(f"{path}/")]
            store.replace([wire.decode_pod(json.dumps(body)) for body in shown], str(self.server.version))
        if JOB in self.server.objects:
            self.reconciler.take(deepcopy(self.server.objects[JOB]))

    async def look(self) -> None:
        for _ in range(10):
            self.show()
            again = await self.reconciler.reconcile("ml/digits")
            if again is None or again.total_seconds() > 0:
                return
        raise AssertionError(f"it looks again and again: {self.server.writes[-3:]} {self.server.gets[-3:]}")


def two(**scheduling: Any) -> TrainJobBuilder:
    return make_trainjob().workers(2).max_restarts(-1).scheduling(**scheduling)


def fail(server: Server, pod: str) -> None:
    ended = {"exitCode": 1, "reason": "Error", "finishedAt": T0.isoformat()}
    server.objects[f"{PODS}/{pod}"]["spec"]["nodeName"] = "n1"
    server.say(pod, phase="Failed", containerStatuses=[{"name": "worker", "state": {"terminated": ended}}])


async def started(server: Server) -> Operator:
    operator = Operator(server)
    await operator.groups.look()
    return operator


def groups_of_pods(server: Server) -> dict[str, str]:
    bodies = [body for key, body in server.objects.items() if key.startswith(f"{PODS}/")]
    return {
        body["metadata"]["name"]: body["spec"].get("schedulingGroup", {}).get("podGroupName", "") for body in bodies
    }


async def test_the_group_comes_before_its_pods_and_costs_one_write() -> None:
    server = Server(two(priorityClassName="high"))
    operator = await started(server)
    await operator.look()
    assert server.writes[0] == f"POST {GROUPS}"
    assert sum("podgroups" in write for write in server.writes) == 1
    assert groups_of_pods(server) == {"digits-0-0": "digits-0", "digits-0-1": "digits-0"}
    group = server.objects[f"{GROUPS}/digits-0"]
    assert group["spec"]["schedulingPolicy"] == {"gang": {"minCount": 2}}
    assert group["spec"]["priorityClassName"] == "high"
    assert group["metadata"]["ownerReferences"][0]["uid"] == "uid-job"


async def test_a_restart_makes_the_next_group_and_deletes_the_last_one() -> None:
    server = Server(two())
    operator = await started(server)
    await operator.look()
    fail(server, "digits-0-1")
    await operator.look()
    assert server.names(GROUPS) == ["digits-1"]
    before = len(server.writes)
    await operator.look()
    again = await started(server)
    await again.look()
    assert server.writes[before:] == []


@pytest.mark.parametrize("write", range(1, 9))
async def test_a_crash_after_any_write_leaves_no_group_behind(write: int) -> None:
    server = Server(two())
    await (await started(server)).look()
    fail(server, "digits-0-1")
    server.dies_after = write
    for _ in range(2):
        with suppress(DeadError):
            await (await started(server)).look()
    assert server.status()["attempt"] == 1
    assert server.names(GROUPS) == ["digits-1"]
    assert {name: group for name, group in groups_of_pods(server).items() if name.startswith("digits-1")} == {
        "digits-1-0": "digits-1",
        "digits-1-1": "digits-1",
    }


async def test_a_crash_between_group_and_pods_takes_the_group_for_its_own() -> None:
    server = Server(two())
    server.dies_after = 1
    with pytest.raises(DeadError):
        await (await started(server)).look()
    operator = Operator(server)
    operator.groups._served[None] = True  # As if the list had not shown it yet.
    await operator.look()
    assert server.names(PODS) == ["digits-0-0", "digits-0-1"]
    assert groups_of_pods(server)["digits-0-0"] == "digits-0"


async def test_a_group_of_another_owner_is_never_adopted() -> None:
    server = Server(two())
    operator = await started(server)
    other = {"metadata": {"name": "digits-0", "labels": {"paceline.dev/job": "digits"}}}
    server._store(f"{GROUPS}/digits-0", other)
    await operator.look()
    assert server.names(PODS) == []
    scheduled = next(found for found in server.status()["conditions"] if found["type"] == "Scheduled")
    assert (scheduled["reason"], "PodGroup digits-0" in scheduled["message"]) == ("NameTaken", True)
    assert "kube-controller-manager needs the feature gate GenericWorkload" in scheduled["message"]


@pytest.mark.parametrize("error", [ApiError(404, "NotFound", "no such"), ApiError(403, "Forbidden", "not for you")])
async def test_where_they_cannot_be_had_there_are_none(error: ApiError) -> None:
    server = Server(two())
    server.refuse["GET", ALL_GROUPS] = error
    operator = await started(server)
    await operator.look()
    assert groups_of_pods(server) == {"digits-0-0": "", "digits-0-1": ""}
    assert server.names(GROUPS) == []


async def test_a_job_that_insists_waits_and_starts_when_they_are_served() -> None:
    server = Server(two(gang="PodGroup"))
    server.refuse["GET", ALL_GROUPS] = ApiError(404, "NotFound", "no such")
    operator = await started(server)
    await operator.look()
    assert server.names(PODS) == []
    scheduled = next(found for found in server.status()["conditions"] if found["type"] == "Scheduled")
    assert (scheduled["status"], scheduled["reason"]) == ("False", "GangUnavailable")
    del server.refuse["GET", ALL_GROUPS]
    await operator.groups.look()
    await operator.look()
    assert groups_of_pods(server) == {"digits-0-0": "digits-0", "digits-0-1": "digits-0"}


@pytest.mark.parametrize(
    "error",
    [
        ApiError(403, "Forbidden", 'User "x" cannot create resource "podgroups" in API group "scheduling.k8s.io"'),
        UNSERVED,
    ],
)
async def test_a_right_that_was_taken_away_is_noticed_and_the_job_starts_without(error: ApiError) -> None:
    server = Server(two())
    server.refuse["POST", GROUPS] = error
    operator = await started(server)
    await operator.look()
    assert groups_of_pods(server) == {"digits-0-0": "", "digits-0-1": ""}


async def test_what_an_admission_plugin_says_of_the_group_is_told() -> None:
    server = Server(two(priorityClassName="none-such"))
    said = "no PriorityClass with name none-such was found"
    server.refuse["POST", GROUPS] = ApiError(403, "Forbidden", said)
    operator = await started(server)
    await operator.look()
    assert server.names(PODS) == []
    scheduled = next(found for found in server.status()["conditions"] if found["type"] == "Scheduled")
    assert (scheduled["reason"], said in scheduled["message"]) == ("PodRefused", True)


async def test_a_group_that_may_not_be_deleted_is_left_to_the_garbage_collector() -> None:
    server = Server(two())
    operator = await started(server)
    await operator.look()
    fail(server, "digits-0-1")
    server.refuse["DELETE", f"{GROUPS}/digits-0"] = ApiError(403, "Forbidden", "no")
    await operator.look()
    before = len(server.writes)
    await operator.look()
    assert server.writes[before:] == []


async def test_a_failed_deletion_is_tried_again() -> None:
    server = Server(two())
    operator = await started(server)
    await operator.look()
    fail(server, "digits-0-1")
    server.refuse["DELETE", f"{GROUPS}/digits-0"] = ApiError(500, "InternalError", "etcd")
    with pytest.raises(ApiError):
        await operator.look()
    server.refuse.clear()
    await operator.look()
    assert server.names(GROUPS) == ["digits-1"]


async def test_what_cannot_be_deleted_since_none_are_served_goes_when_they_are_again() -> None:
    server = Server(two())
    operator = await started(server)
    await operator.look()
    fail(server, "digits-0-1")
    server.refuse["DELETE", f"{GROUPS}/digits-0"] = server.refuse["POST", GROUPS] = UNSERVED
    server.refuse["GET", ALL_GROUPS] = server.refuse["GET", GROUPS] = UNSERVED
    await operator.look()
    assert server.status()["attempt"] == 1
    before = len(server.writes)
    await operator.look()
    await operator.groups.look()
    await operator.look()
    assert [write for write in server.writes[before:] if "podgroups" in write] == []
    server.refuse.clear()
    operator.told_again.clear()
    await operator.groups.look()
    assert "ml/digits" in operator.told_again, "its job is looked at, though nothing happens to it"
    await operator.look()
    assert server.names(GROUPS) == []
    operator.told_again.clear()
    await operator.groups.look()
    assert operator.told_again == []


async def test_an_attempt_whose_group_is_out_of_reach_gets_the_rest_of_its_pods() -> None:
    server = Server(two())
    server.dies_after = 2
    with pytest.raises(DeadError):
        await (await started(server)).look()
    del server.objects[f"{PODS}/digits-0-1"]
    server.refuse["POST", GROUPS] = server.refuse["GET", ALL_GROUPS] = UNSERVED
    await (await started(server)).look()
    assert groups_of_pods(server) == {"digits-0-0": "digits-0", "digits-0-1": "digits-0"}


async def test_a_group_that_cannot_be_read_since_none_are_served_is_not_called_gone() -> None:
    server = Server(two())
    groups = PodGroups(server)
    await groups.look()
    server.refuse["GET", f"{GROUPS}/digits-0"] = UNSERVED
    assert (await groups.sentence("ml", "digits-0"), groups.served("ml")) == ("", False)


async def test_a_group_that_tells_more_than_its_pods_is_read_when_patience_is_over_and_once() -> None:
    server = Server(two())
    operator = await started(server)
    await operator.look()
    condition = {"type": "PodGroupScheduled", "status": "False", "message": "no quota in the queue"}
    server.objects[f"{GROUPS}/digits-0"]["status"] = {"conditions": [condition]}
    server.gets.clear()
    operator.seconds = 9
    await operator.look()
    assert server.gets == []
    operator.seconds = 30
    await operator.look()
    scheduled = next(found for found in server.status()["conditions"] if found["type"] == "Scheduled")
    assert scheduled["reason"] == "Unschedulable"
    assert "none of 2 pods has a node; pod digits-0-0 finds no node: no quota in the queue" in scheduled["message"]
    assert len(server.gets) <= 4


async def test_a_group_that_somebody_deleted_is_told() -> None:
    server = Server(two())
    operator = await started(server)
    await operator.look()
    del server.objects[f"{GROUPS}/digits-0"]
    operator.seconds = 30
    await operator.look()
    scheduled = next(found for found in server.status()["conditions"] if found["type"] == "Scheduled")
    assert "PodGroup digits-0 is gone: delete one of the pods" in scheduled["message"]


async def test_an_error_of_the_server_is_no_sentence() -> None:
    server = Server(two())
    server.refuse["GET", f"{GROUPS}/digits-0"] = ApiError(500, "InternalError", "etcd")
    with pytest.raises(ApiError):
        await PodGroups(server).sentence("ml", "digits-0")


async def test_an_error_of_the_server_does_not_mean_that_there_are_none() -> None:
    server = Server(two())
    groups = PodGroups(server)
    await groups.look()
    server.refuse["GET", ALL_GROUPS] = ApiError(500, "InternalError", "etcd")
    with pytest.raises(ApiError):
        await groups.look()
    assert groups.served("ml")


async def test_each_watched_namespace_is_asked_and_others_are_not() -> None:
    server = Server(two())
    server.refuse["GET", GROUPS.replace("ml", "team-b")] = ApiError(403, "Forbidden", "no")
    groups = PodGroups(server, ("ml", "team-b"))
    await groups.look()
    assert (groups.served("ml"), groups.served("team-b"), groups.served("elsewhere")) == (True, False, False)
    assert server.gets == [GROUPS, GROUPS.replace("ml", "team-b")]


async def test_a_long_list_is_read_in_pages_and_what_is_going_is_left_out() -> None:
    class Pages:
        def __init__(self) -> None:
            self.asked: list[Any] = []

        async def request(self, method: str, path: str, body: Any = None, *, params: Any = None, **_: Any) -> bytes:
            self.asked.append(params.get("continue"))
            owner = [{"uid": "uid-job", "controller": True}]
            name = f"digits-{len(self.asked)}"
            going = {"deletionTimestamp": "2026-01-02T03:04:05Z"} if len(self.asked) == 2 else {}
            item = {"metadata": {"name": name, "uid": name, "ownerReferences": owner, **going}}
            more = {"continue": "more"} if len(self.asked) < 3 else {}
            return json.dumps({"metadata": more, "items": [item, {"metadata": {"name": "x", "uid": "x"}}]}).encode()

    api = Pages()
    groups = PodGroups(api)
    await groups.look()
    job = two().uid("uid-job").obj()
    assert groups.of(job) == ("digits-1", "digits-3")
    assert api.asked == [None, "more", "more"]
    groups.forget("uid-job")
    assert groups.of(job) == ()


async def test_a_hanging_pod_is_not_looked_at_again_and_again() -> None:
    """What its events say stands in the status; the next look is due after 15 seconds."""
    server = Server(two())
    operator = await started(server)
    await operator.look()
    for name in server.names(PODS):
        server.objects[f"{PODS}/{name}"]["spec"]["nodeName"] = "n1"
        server.say(name, phase="Pending")
    events = "/api/v1/namespaces/ml/events"
    server.objects[events] = {"metadata": {}, "items": [{"type": "Warning", "reason": "FailedMount", "message": "no"}]}
    operator.seconds = 30
    server.gets.clear()
    await operator.look()
    assert 1 <= server.gets.count(events) <= 3
    assert any("FailedMount" in found["message"] for found in server.status()["conditions"])


async def test_an_operator_that_may_not_read_events_gives_a_pod_up_all_the_same() -> None:
    server = Server(two(gang="None").failure_policy(startTimeoutSeconds=3, maxRestarts=-1))
    operator = await started(server)
    await operator.look()
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": T0.isoformat()}
    for name in server.names(PODS):
        server.objects[f"{PODS}/{name}"]["spec"]["nodeName"] = "n1"
        server.say(name, phase="Pending", conditions=[placed])
    server.refuse["GET", "/api/v1/namespaces/ml/events"] = ApiError(403, "Forbidden", "no")
    operator.seconds = 4
    await operator.look()
    assert server.status()["history"][0]["cause"] == "StartTimeout"


async def test_no_answer_is_an_error_of_its_own() -> None:
    class Away:
        async def request(self, *_: Any, **__: Any) -> bytes:
            raise UnreachableError("gone")

    with pytest.raises(UnreachableError):
        await PodGroups(Away()).look()


@pytest.mark.parametrize("made", [True, False])
async def test_a_group_whose_answer_was_lost_goes_with_its_attempt(made: bool) -> None:
    server = Server(two())
    operator = await started(server)
    await operator.look()
    fail(server, "digits-0-1")
    server.lose[("POST", GROUPS)] = made
    with pytest.raises(UnreachableError):
        await operator.look()
    assert server.names(GROUPS) == (["digits-1"] if made else [])
    suspended = deepcopy(server.objects[JOB])
    suspended["spec"]["suspend"] = True
    server._store(JOB, suspended)
    await operator.look()
    assert server.status()["phase"] == "Suspended"
    server.lose.clear()
    resumed = deepcopy(server.objects[JOB])
    resumed["spec"]["suspend"] = False
    server._store(JOB, resumed)
    await operator.look()
    assert (server.status()["attempt"], server.names(GROUPS)) == (2, ["digits-2"])
    assert [line for line in server.gets if line == f"{GROUPS}/digits-1"] == [f"{GROUPS}/digits-1"], "asked for once"


async def test_a_group_whose_answer_was_lost_is_asked_for_again_by_its_attempt() -> None:
    server = Server(two())
    operator = await started(server)
    server.lose[("POST", GROUPS)] = False
    with pytest.raises(UnreachableError):
        await operator.look()
    server.lose.clear()
    await operator.look()
    assert server.names(GROUPS) == ["digits-0"]
    assert groups_of_pods(server) == {"digits-0-0": "digits-0", "digits-0-1": "digits-0"}


async def test_no_answer_is_not_a_no_and_is_asked_for_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podgroups, "UNANSWERED_AGAIN_S", 0.01)
    server = Server(two())
    groups = PodGroups(server)
    server.refuse["GET", ALL_GROUPS] = ApiError(503, "ServiceUnavailable", "the server is starting")
    with pytest.raises(ApiError):
        await groups.look()
    running = asyncio.create_task(groups.run())
    await until(lambda: len(server.gets) > 2)
    assert not groups.served("ml")
    del server.refuse["GET", ALL_GROUPS]
    await until(lambda: groups.served("ml"))
    asked = len(server.gets)
    await asyncio.sleep(0.1)
    running.cancel()
    assert len(server.gets) == asked, "and then for a long time no more"


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LOCAL_S):
        while not holds():  # noqa: ASYNC110 (counts of a server, not an event)
            await asyncio.sleep(0.01)
