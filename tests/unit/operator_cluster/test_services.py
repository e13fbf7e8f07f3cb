"""The Service of a job: shown by its watch, made again when somebody deletes it, and never for a job that is gone."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from paceline_operator.cluster import pods as wire
from paceline_operator.cluster.client import ApiError
from paceline_operator.cluster.informer import PodStore
from paceline_operator.cluster.memory import NEVER_SHOWN, Jobs
from paceline_operator.cluster.reconciler import Reconciler
from paceline_operator.cluster.services import ServiceStore
from paceline_operator.planning import Note
from paceline_operator.policies.config import JobDefaults
from tests.support.pods import T0
from tests.support.trainjobs import make_trainjob

JOB = "/apis/paceline.dev/v1alpha1/namespaces/ml/trainjobs/digits"
SERVICES = "/api/v1/namespaces/ml/services"
SERVICE = f"{SERVICES}/digits"
RUNNING = {"phase": "Running", "workers": {"desired": 1, "scheduled": 1, "running": 1, "ready": "1/1"}}


def service(
    uid: str = "s1", *, version: int = 5, owner: str = "uid-job", name: str = "digits", namespace: str = "ml",
    labels: dict[str, str] | None = None,
) -> wire.Pod:  # fmt: skip
    body = {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "resourceVersion": str(version),
            "labels": {"paceline.dev/job": "digits"} if labels is None else labels,
            "ownerReferences": [{"uid": owner, "controller": True}] if owner else [],
        }
    }
    return wire.decode_pod(json.dumps(body))


def store() -> tuple[ServiceStore, list[str]]:
    changed: list[str] = []
    return ServiceStore(changed.append), changed


def test_a_service_that_comes_and_goes_is_told_once_each() -> None:
    services, changed = store()
    services.put(service())
    services.put(service(version=6))
    assert (services.of("uid-job"), changed, len(services)) == ("s1", ["ml/digits"], 1)
    services.remove("s1", "7")
    services.remove("s1", "7")
    assert (services.of("uid-job"), changed, len(services)) == (None, ["ml/digits"] * 2, 0)
    assert services.version("ml") == 7


@pytest.mark.parametrize("stranger", [service(owner=""), service(name="other"), service(labels={})])
def test_a_service_that_is_not_a_jobs_own_is_not_taken(stranger: wire.Pod) -> None:
    services, changed = store()
    services.put(stranger)
    assert (len(services), changed) == (0, [])


def test_made_anew_it_stays_when_the_end_of_the_old_one_is_told_late() -> None:
    services, _ = store()
    services.put(service("s1"))
    services.put(service("s2"))
    services.remove("s1")
    assert services.of("uid-job") == "s2"


def test_what_a_list_does_not_have_is_gone_but_only_in_its_namespace() -> None:
    services, changed = store()
    services.put(service("s1"), "ml")
    services.put(service("s2", owner="other", namespace="two"), "two")
    services.replace([], "9", "ml")
    assert (services.of("uid-job"), services.of("other")) == (None, "s2")
    assert changed == ["ml/digits", "two/digits", "ml/digits"]
    assert (services.version("ml"), services.version("two")) == (9, 5)


class Server:
    """Objects by path."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.version = 10

    async def request(
        self, method: str, path: str, body: bytes | None = None, *, params: Any = None,
        content_type: str = "", timeout_s: float | None = None,
    ) -> bytes:  # fmt: skip
        self.requests.append(f"{method} {path}")
        if method == "POST":
            wanted = json.loads(body or b"{}")
            path = f"{path}/{wanted['metadata']['name']}"
            if path in self.objects:
                raise ApiError(409, "AlreadyExists", "there already")
            self.version += 1
            wanted["metadata"] |= {"uid": f"s{self.version}", "resourceVersion": str(self.version)}
            self.objects[path] = wanted
        if path not in self.objects:
            raise ApiError(404, "NotFound", "gone")
        return json.dumps(self.objects.pop(path) if method == "DELETE" else self.objects[path]).encode()


class Silent:
    def post(self, job: Any, note: Note) -> None:
        pass


class Rig:
    """A job whose one pod runs, as it is on record; its Service is what the test makes of it."""

    def __init__(self, **status: Any) -> None:
        self.server = Server()
        self.body = make_trainjob().status(**(status or RUNNING)).obj().to_body()
        self.body["metadata"] |= {"uid": "uid-job", "resourceVersion": "4"}
        self.server.objects[JOB] = deepcopy(self.body)
        pods = PodStore(lambda key, owner: None)
        pods.put(_pod())
        self.services = ServiceStore(lambda key: None)
        self.jobs = Jobs(pods, self.services)
        self.reconciler = Reconciler(self.server, self.jobs, Silent(), JobDefaults(), now=lambda: T0)
        self.reconciler.take(self.body)

    async def look(self) -> list[str]:
        """Look once; return the requests about the Service and the reads of the job."""
        self.server.requests.clear()
        await self.reconciler.reconcile("ml/digits")
        return [line for line in self.server.requests if "services" in line or line == f"GET {JOB}"]


def _pod() -> wire.Pod:
    labels = {"paceline.dev/job": "digits", "paceline.dev/attempt": "0", "paceline.dev/index": "0"}
    metadata = {"name": "digits-0-0", "namespace": "ml", "uid": "p", "resourceVersion": "3", "labels": labels,
                "ownerReferences": [{"uid": "uid-job", "controller": True}]}  # fmt: skip
    return wire.decode_pod(
        json.dumps({"metadata": metadata, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}})
    )


async def test_a_deleted_service_is_made_again_after_a_look_at_the_job_and_once() -> None:
    rig = Rig()
    rig.services.put(service())
    assert await rig.look() == []
    rig.services.remove("s1", "6")
    assert await rig.look() == [f"GET {JOB}", f"POST {SERVICES}"]
    assert await rig.look() == [], "the watch has not shown it yet"
    rig.services.put(service("s11", version=11))
    rig.services.remove("s11", "12")
    del rig.server.objects[SERVICE]
    assert await rig.look() == [f"GET {JOB}", f"POST {SERVICES}"], "and again"


async def test_what_was_made_and_deleted_before_the_answer_came_is_made_again() -> None:
    rig = Rig()
    await rig.look()
    rig.services.bookmark("30")
    del rig.server.objects[SERVICE]
    assert await rig.look() == [f"GET {JOB}", f"POST {SERVICES}"]


async def test_no_service_is_made_for_a_job_that_went_with_it() -> None:
    rig = Rig()
    del rig.server.objects[JOB]
    assert await rig.look() == [f"GET {JOB}"]
    assert rig.jobs.get("ml/digits") is None


async def test_no_service_is_made_for_a_job_that_is_being_deleted() -> None:
    rig = Rig()
    rig.server.objects[JOB]["metadata"] |= {"resourceVersion": "9", "deletionTimestamp": "2026-01-02T03:05:05Z"}
    assert await rig.look() == [f"GET {JOB}"]
    assert await rig.look() == []


async def test_a_taken_name_is_read_and_not_written_again_and_again() -> None:
    rig = Rig()
    rig.server.objects[SERVICE] = {"metadata": {"name": "digits", "uid": "x", "resourceVersion": "2"}}
    assert await rig.look() == [f"GET {JOB}", f"POST {SERVICES}", f"GET {SERVICE}"]
    assert await rig.look() == [f"GET {SERVICE}"]
    del rig.server.objects[SERVICE]
    assert await rig.look() == [f"GET {SERVICE}", f"POST {SERVICES}"]


async def test_a_service_without_our_label_counts_until_the_attempt_is_over() -> None:
    rig = Rig()
    rig.server.objects[SERVICE] = {
        "metadata": {"name": "digits", "uid": "x", "resourceVersion": "2", "ownerReferences": [
            {"uid": "uid-job", "controller": True}]}
    }  # fmt: skip
    rig.services.bookmark("20")
    assert await rig.look() == [f"GET {JOB}", f"POST {SERVICES}", f"GET {SERVICE}"]
    assert await rig.look() == []
    known = rig.jobs.get("ml/digits")
    assert known is not None
    assert known.service_version == NEVER_SHOWN
    rig.body["metadata"] |= {"resourceVersion": "21"}
    rig.body["status"] |= {"attempt": 1}
    rig.reconciler.take(rig.body)
    assert rig.jobs.service(known) == ""


async def test_the_service_of_a_finished_job_is_not_made_again_and_goes_once() -> None:
    rig = Rig(phase="Succeeded", completionTime="2026-01-02T03:04:05Z")
    assert await rig.look() == []
    rig.body["metadata"] |= {"resourceVersion": "8"}
    rig.body["spec"] |= {"cleanPodPolicy": "All"}
    rig.reconciler.take(rig.body)
    rig.services.put(service())
    assert await rig.look() == [f"DELETE {SERVICE}"]
    assert await rig.look() == [], "its end is not shown yet"
