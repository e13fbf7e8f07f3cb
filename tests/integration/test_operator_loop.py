"""The operator's process against a real API server; the test is the kubelet of its pods."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from e2e.cluster import Bed
from e2e.operators import OperatorProcess, operator
from tests.support.crdserver import crd_server
from tests.support.trainjobs import TrainJobBuilder, make_trainjob

__all__ = ["crd_server"]

# A look takes milliseconds; two busy cores and an API server under other tests' load take seconds.
SEEN_S = 30.0
# What the watch tells is acted on at once; the rest is for two busy cores.
BACK_S = 8.0
# Longer than any pause of the operator: what is not written by then is not written.
SETTLED_S = 12.0


class Cluster:
    """One namespace of the API server, as user and as kubelet."""

    def __init__(self, bed: Bed, namespace: str) -> None:
        self.bed = bed
        self.namespace = namespace
        self._audit_from = bed.audit_log.stat().st_size

    def apply(self, job: TrainJobBuilder) -> None:
        self.bed.api.call("POST", self._path("trainjobs"), job.body())

    def job(self) -> dict[str, Any]:
        found: dict[str, Any] = self.bed.api.call("GET", self._path("trainjobs", "digits"))
        return found

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.job().get("status") or {}
        return found

    def jobs(self) -> list[dict[str, Any]]:
        return self._list("trainjobs")

    def services(self) -> list[dict[str, Any]]:
        return self._list("services")

    def deployments(self) -> list[dict[str, Any]]:
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments"
        return list(self.bed.api.call("GET", path)["items"])

    def pods(self, attempt: int | None = None) -> list[dict[str, Any]]:
        selector = "paceline.dev/job" if attempt is None else f"paceline.dev/attempt={attempt}"
        return self._list("pods", f"?labelSelector={quote(selector)}")

    def names(self, attempt: int | None = None) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.pods(attempt) if "deletionTimestamp" not in pod["metadata"]}

    def run(self, *pods: str) -> None:
        for pod in pods:
            self._pod_status(pod, "Running", {"running": {"startedAt": "2026-01-02T03:04:05Z"}})

    def bind(self, pod: str) -> None:
        target = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": {"name": "by-hand"}}
        self.bed.api.call("POST", f"{self._path('pods', pod)}/binding", target)

    def wait_for_key(self, pod: str, said: str) -> None:
        self._pod_status(pod, "Pending", {"waiting": {"reason": "CreateContainerConfigError", "message": said}})

    def succeed(self, *pods: str, message: str = "") -> None:
        for pod in pods:
            self._pod_status(pod, "Succeeded", _terminated(0, message))

    def fail(self, pod: str, code: int = 1, message: str = "") -> None:
        self._pod_status(pod, "Failed", _terminated(code, message))

    def events(self) -> list[tuple[str, str]]:
        found = self._list("events")
        return [(e["reason"], e["message"]) for e in found if e["involvedObject"]["kind"] == "TrainJob"]

    def patch(self, spec: dict[str, Any]) -> None:
        self._merge(self._path("trainjobs", "digits"), {"spec": spec})

    def delete(self, resource: str, name: str = "digits") -> None:
        """Delete an object, and what it owns after it."""
        self.bed.api.call("DELETE", self._path(resource, name), {"propagationPolicy": "Background"})

    def writes(self) -> list[str]:
        """Return what operators wrote in this namespace since it was made, or since the last call."""
        with self.bed.audit_log.open("rb") as log:
            log.seek(self._audit_from)
            data = log.read()
        self._audit_from += len(data)
        lines = [json.loads(line) for line in data.splitlines() if self.namespace.encode() in line]
        return [
            f"{line['verb']} {line['objectRef']['resource']} {line.get('responseStatus', {}).get('code')}"
            for line in lines
            if line.get("userAgent", "").startswith("paceline-operator")
            and line["objectRef"].get("namespace") == self.namespace
        ]

    def _path(self, resource: str, name: str = "") -> str:
        group = "/apis/paceline.dev/v1alpha1" if resource == "trainjobs" else "/api/v1"
        return f"{group}/namespaces/{self.namespace}/{resource}" + (f"/{name}" if name else "")

    def _list(self, resource: str, query: str = "") -> list[dict[str, Any]]:
        return list(self.bed.api.call("GET", self._path(resource) + query)["items"])

    def _merge(self, path: str, body: dict[str, Any]) -> None:
        self.bed.api.call("PATCH", path, body, content_type="application/merge-patch+json")

    def _pod_status(self, pod: str, phase: str, state: dict[str, Any]) -> None:
        container = {
            "name": "worker",
            "image": "train:1",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": state,
        }
        status = {"phase": phase, "podIP": "192.0.2.1", "containerStatuses": [container | {"state": state}]}
        self._merge(f"{self._path('pods', pod)}/status", {"status": status})


def _terminated(code: int, message: str) -> dict[str, Any]:
    ended = {"exitCode": code, "reason": "Error" if code else "Completed", "message": message}
    return {"terminated": {**ended, "startedAt": "2026-01-02T03:04:05Z", "finishedAt": "2026-01-02T03:04:06Z"}}


def until(what: Callable[[], Any], expected: Any = True) -> None:
    """Wait until `what()` is as expected."""
    deadline = time.monotonic() + SEEN_S
    seen = what()
    while seen != expected:
        assert time.monotonic() < deadline, f"still {seen!r}, not {expected!r}, after {SEEN_S} s"
        time.sleep(0.1)
        seen = what()


@contextlib.contextmanager
def namespaces(bed: Bed, count: int) -> Iterator[list[str]]:
    made = [f"op-{uuid4().hex[:8]}" for _ in range(count)]
    for name in made:
        bed.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield made
    for name in made:
        bed.api.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def cluster(crd_server: Bed) -> Iterator[Cluster]:
    """Return a namespace whose operators are the test's own."""
    with namespaces(crd_server, 1) as (name,):
        yield Cluster(crd_server, name)


@dataclass(frozen=True, slots=True)
class Shared:
    """One operator for several tests, and a namespace that it watches for each of them."""

    operator: OperatorProcess
    unused: list[str]


@pytest.fixture(scope="module")
def shared(crd_server: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with namespaces(crd_server, 9) as names:
        config: dict[str, Any] = {"namespaces": names, "leaderElection": {"leaseName": names[0]}}
        with operator(crd_server.kubeconfig, tmp_path_factory.mktemp("shared"), **config) as process:
            yield Shared(process, list(names))


@pytest.fixture
def watched(crd_server: Bed, shared: Shared) -> Cluster:
    """Return a namespace that the shared operator watches, used by no other test."""
    return Cluster(crd_server, shared.unused.pop())


def two(cluster: Cluster) -> TrainJobBuilder:
    # A scheduler that does not exist: the test is scheduler and kubelet.
    return (
        make_trainjob("digits", cluster.namespace)
        .workers(2)
        .storage("s3://bucket/runs")
        .scheduling(schedulerName="by-hand")
    )


def test_a_job_runs_to_success_with_its_result(cluster: Cluster, tmp_path: Path) -> None:
    config: dict[str, Any] = {"namespaces": [cluster.namespace], "leaderElection": {"leaseName": cluster.namespace}}
    with operator(cluster.bed.kubeconfig, tmp_path, **config) as running:
        _runs_to_success(cluster, running)


def _runs_to_success(cluster: Cluster, running: OperatorProcess) -> None:
    cluster.apply(two(cluster))
    until(cluster.names, {"digits-0-0", "digits-0-1"})
    assert [service["spec"]["clusterIP"] for service in cluster.services()] == ["None"]
    cluster.run("digits-0-0", "digits-0-1")
    until(lambda: cluster.status().get("phase"), "Running")
    told = {"version": 1, "outcome": "succeeded", "progress": {"step": 9, "metrics": {"accuracy": 0.97}}}
    cluster.succeed("digits-0-0", "digits-0-1", message=json.dumps(told))
    until(lambda: cluster.status().get("phase"), "Succeeded")
    assert cluster.status()["result"] == {"path": "s3://bucket/runs/digits", "metrics": {"accuracy": 0.97}}
    until(lambda: {reason for reason, _ in cluster.events()}, {"Running", "Succeeded"})
    beyond = [write for write in cluster.writes() if "pods" not in write and "services" not in write]
    assert len(beyond) <= 4, beyond
    assert 'paceline_jobs{phase="Succeeded"} 1.0' in running.page("/metrics")
    assert running.page("/healthz") == "ok"
    assert running.stop() == 0


def test_a_failed_worker_restarts_the_group_and_the_last_failure_ends_the_job(watched: Cluster) -> None:
    watched.apply(two(watched).max_restarts(1))
    until(watched.names, {"digits-0-0", "digits-0-1"})
    watched.run("digits-0-0", "digits-0-1")
    watched.fail("digits-0-1", 3, "boom")
    until(lambda: watched.names(1), {"digits-1-0", "digits-1-1"})
    assert watched.status()["restarts"] == 1
    record = watched.status()["history"][0]
    assert (record["attempt"], record["cause"], record["rank"]) == (0, "WorkerFailed", 1)
    assert (record["pod"], record["exitCode"], record["message"]) == ("digits-0-1", 3, "boom")
    until(lambda: watched.names(0), {"digits-0-1"})
    watched.fail("digits-1-0", 4)
    until(lambda: watched.status().get("phase"), "Failed")
    assert watched.status()["result"]["error"]["exitCode"] == 4
    until(lambda: "MaxRestartsReached" in {reason for reason, _ in watched.events()})


def test_a_deleted_pod_restarts_the_group(watched: Cluster) -> None:
    watched.apply(two(watched))
    until(watched.names, {"digits-0-0", "digits-0-1"})
    watched.run("digits-0-0", "digits-0-1")
    until(lambda: watched.status().get("phase"), "Running")
    watched.delete("pods", "digits-0-0")
    until(lambda: watched.names(1), {"digits-1-0", "digits-1-1"})
    assert watched.status()["history"][0]["cause"] == "PodDeleted"


def test_a_deleted_service_is_back_at_once_and_that_of_an_ended_job_is_not(watched: Cluster, shared: Shared) -> None:
    watched.apply(two(watched))
    until(watched.names, {"digits-0-0", "digits-0-1"})

    def service() -> str:
        return "".join(found["metadata"]["uid"] for found in watched.services())

    def made_anew(old: str) -> bool:
        return service() not in ("", old)

    until(lambda: bool(service()))
    for run in (False, True):
        if run:
            watched.run("digits-0-0", "digits-0-1")
            until(lambda: watched.status().get("phase"), "Running")
        old, began = service(), time.monotonic()
        watched.delete("services")
        until(partial(made_anew, old))
        assert time.monotonic() - began < BACK_S, "at once, and not with the next look at the job"
    assert [found["spec"]["clusterIP"] for found in watched.services()] == ["None"]
    assert (watched.status()["attempt"], len(watched.pods())) == (0, 2), "nothing else happened to the job"
    watched.succeed("digits-0-0", "digits-0-1")
    # Its event comes last, and the record of a write after its answer.
    until(lambda: "Succeeded" in {reason for reason, _ in watched.events()})
    time.sleep(1.0)
    watched.delete("services")
    watched.writes()
    time.sleep(SETTLED_S)
    assert (service(), watched.writes()) == ("", [])
    assert shared.operator.refused() == []


def test_killed_and_started_again_it_creates_nothing_twice_and_settles(cluster: Cluster, tmp_path: Path) -> None:
    config: dict[str, Any] = {"namespaces": [cluster.namespace], "leaderElection": {"enabled": False}}
    with operator(cluster.bed.kubeconfig, tmp_path, **config) as first:
        cluster.apply(two(cluster))
        until(lambda: bool(cluster.names()))
        first.kill()
    with operator(cluster.bed.kubeconfig, tmp_path, **config) as second:
        until(cluster.names, {"digits-0-0", "digits-0-1"})
        cluster.run("digits-0-0", "digits-0-1")
        until(lambda: cluster.status().get("phase"), "Running")
        until(lambda: bool(cluster.services()))  # which may come last: pods and statuses go before it
        second.kill()
    uids = {pod["metadata"]["uid"] for pod in cluster.pods()}
    time.sleep(1.0)
    cluster.writes()
    with operator(cluster.bed.kubeconfig, tmp_path, **config):
        time.sleep(SETTLED_S)
        assert cluster.writes() == []
    assert {pod["metadata"]["uid"] for pod in cluster.pods()} == uids
    assert cluster.status()["attempt"] == 0


def test_suspend_resume_and_deletion(watched: Cluster) -> None:
    watched.apply(two(watched))
    until(watched.names, {"digits-0-0", "digits-0-1"})
    watched.patch({"suspend": True})
    until(lambda: watched.status().get("phase"), "Suspended")
    until(watched.names, set())
    watched.patch({"suspend": False})
    until(lambda: watched.names(1), {"digits-1-0", "digits-1-1"})
    assert watched.status()["restarts"] == 0
    watched.delete("trainjobs")
    until(watched.names, set())


def test_a_job_made_anew_never_takes_over_the_old_ones_pods(watched: Cluster) -> None:
    watched.apply(two(watched))
    until(watched.names, {"digits-0-0", "digits-0-1"})
    old = {pod["metadata"]["uid"] for pod in watched.pods()}
    watched.delete("trainjobs")
    watched.apply(two(watched))
    uid = watched.job()["metadata"]["uid"]

    def owners() -> set[str]:
        return {pod["metadata"]["ownerReferences"][0]["uid"] for pod in watched.pods()}

    until(lambda: len(watched.pods()) == 2 and owners() == {uid})
    assert not old & {pod["metadata"]["uid"] for pod in watched.pods()}


def test_ttl_deletes_the_finished_job_and_what_it_owns(watched: Cluster) -> None:
    watched.apply(two(watched).ttl(2))
    until(watched.names, {"digits-0-0", "digits-0-1"})
    watched.succeed("digits-0-0", "digits-0-1")
    until(watched.jobs, [])
    until(watched.names, set())


def test_a_tensorboard_stands_beside_the_workers_and_goes_with_the_job(watched: Cluster) -> None:
    served = two(watched).storage("s3://bucket/runs", secret="s3").tracking(tensorboard={"serve": True}, wandb={})
    watched.apply(served)
    until(watched.names, {"digits-0-0", "digits-0-1"})
    until(lambda: [found["metadata"]["name"] for found in watched.deployments()], ["digits-tensorboard"])
    until(lambda: sorted(found["metadata"]["name"] for found in watched.services()), ["digits", "digits-tensorboard"])
    watched.succeed("digits-0-0", "digits-0-1")
    until(lambda: watched.status().get("phase"), "Succeeded")
    assert len(watched.deployments()) == 1
    watched.delete("trainjobs")
    until(watched.deployments, [])
    until(watched.services, [])


def test_a_missing_key_is_told_once_until_the_pods_run(watched: Cluster) -> None:
    watched.apply(two(watched).env_from_secret("WANDB_API_KEY", "wandb", "KEY"))
    until(watched.names, {"digits-0-0", "digits-0-1"})
    for pod in ("digits-0-0", "digits-0-1"):
        watched.bind(pod)
        watched.wait_for_key(pod, f"couldn't find key KEY in Secret {watched.namespace}/wandb")
    until(lambda: _lacking(watched), ("True", "MissingSecret"))
    found = [message for reason, message in watched.events() if reason == "MissingSecret"]
    watched.run("digits-0-0", "digits-0-1")
    until(lambda: _lacking(watched), ("False", "Found"))
    until(lambda: len([1 for reason, _ in watched.events() if reason == "MissingSecret"]), 1)
    (told,) = found or [message for reason, message in watched.events() if reason == "MissingSecret"]
    assert 'has no key "KEY", and spec.env WANDB_API_KEY needs it' in told


def _lacking(cluster: Cluster) -> tuple[str, str] | None:
    found = [c for c in cluster.status().get("conditions", []) if c["type"] == "MissingCredentials"]
    return (found[0]["status"], found[0]["reason"]) if found else None


def test_a_namespace_that_is_not_watched_is_left_alone(watched: Cluster, crd_server: Bed) -> None:
    other = f"{watched.namespace}-other"
    crd_server.kubectl("create", "namespace", other)
    crd_server.kubectl("apply", "-f", "-", input=json.dumps(make_trainjob("digits", other).body()))
    watched.apply(two(watched))
    until(watched.names, {"digits-0-0", "digits-0-1"})
    assert crd_server.kubectl("get", "pods", "-n", other, "-o", "name") == ""
    crd_server.kubectl("delete", "namespace", other, "--wait=false")


def test_of_two_operators_one_works_and_the_other_takes_over(cluster: Cluster, tmp_path: Path) -> None:
    election = {"leaseName": cluster.namespace, "leaseDurationSeconds": 4}
    config: dict[str, Any] = {"namespaces": [cluster.namespace], "leaderElection": election}
    with (
        operator(cluster.bed.kubeconfig, tmp_path, "first", **config) as first,
        operator(cluster.bed.kubeconfig, tmp_path, "second", **config) as second,
    ):
        until(lambda: "paceline_leader 1.0" in first.page("/metrics"))
        assert "paceline_leader 0.0" in second.page("/metrics")
        first.kill()
        cluster.apply(two(cluster))
        until(cluster.names, {"digits-0-0", "digits-0-1"})
        assert "paceline_leader 1.0" in second.page("/metrics")
        third = operator(cluster.bed.kubeconfig, tmp_path, "third", **config)
        with third as standby:
            assert second.stop() == 0
            until(lambda: "paceline_leader 1.0" in standby.page("/metrics"))


def test_bad_settings_are_told_by_name(cluster: Cluster, tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="agentImages is no setting"),
        operator(cluster.bed.kubeconfig, tmp_path, agentImages="x"),
    ):
        pass
