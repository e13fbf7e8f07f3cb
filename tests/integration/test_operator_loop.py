"""The operator's process against a real API server; the test is the kubelet of its pods."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
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
        self.bed.kubectl("apply", "-f", "-", input=json.dumps(job.body()))

    def job(self, name: str = "digits") -> dict[str, Any]:
        return self._get("trainjob", name)

    def status(self, name: str = "digits") -> dict[str, Any]:
        found: dict[str, Any] = self.job(name).get("status") or {}
        return found

    def pods(self, attempt: int | None = None) -> list[dict[str, Any]]:
        selector = "paceline.dev/job" if attempt is None else f"paceline.dev/attempt={attempt}"
        return list(json.loads(self._kubectl("get", "pods", "-l", selector, "-o", "json"))["items"])

    def names(self, attempt: int | None = None) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.pods(attempt) if "deletionTimestamp" not in pod["metadata"]}

    def run(self, *pods: str) -> None:
        for pod in pods:
            self._pod_status(pod, "Running", {"running": {"startedAt": "2026-01-02T03:04:05Z"}})

    def succeed(self, *pods: str, message: str = "") -> None:
        for pod in pods:
            self._pod_status(pod, "Succeeded", _terminated(0, message))

    def fail(self, pod: str, code: int = 1, message: str = "") -> None:
        self._pod_status(pod, "Failed", _terminated(code, message))

    def events(self) -> list[tuple[str, str]]:
        found = json.loads(self._kubectl("get", "events", "-o", "json"))["items"]
        return [(e["reason"], e["message"]) for e in found if e["involvedObject"]["kind"] == "TrainJob"]

    def patch(self, spec: dict[str, Any]) -> None:
        self._kubectl("patch", "trainjob", "digits", "--type", "merge", "-p", json.dumps({"spec": spec}))

    def delete(self, kind: str, name: str) -> None:
        self._kubectl("delete", kind, name, "--wait=false")

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
            if line["userAgent"].startswith("paceline-operator")
            and line["objectRef"].get("namespace") == self.namespace
        ]

    def _get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._kubectl("get", kind, name, "-o", "json"))
        return found

    def _kubectl(self, *args: str) -> str:
        return self.bed.kubectl("-n", self.namespace, *args)

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
        patch = json.dumps({"status": status})
        self._kubectl("patch", "pod", pod, "--subresource", "status", "--type", "merge", "-p", patch)


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


@pytest.fixture
def cluster(crd_server: Bed) -> Iterator[Cluster]:
    namespace = f"op-{uuid4().hex[:8]}"
    crd_server.kubectl("create", "namespace", namespace)
    yield Cluster(crd_server, namespace)
    crd_server.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def running(cluster: Cluster, tmp_path: Path) -> Iterator[OperatorProcess]:
    config: dict[str, Any] = {"namespaces": [cluster.namespace], "leaderElection": {"leaseName": cluster.namespace}}
    with operator(cluster.bed.kubeconfig, tmp_path, **config) as process:
        yield process


def two(cluster: Cluster) -> TrainJobBuilder:
    # A scheduler that does not exist: the test is scheduler and kubelet.
    return (
        make_trainjob("digits", cluster.namespace)
        .workers(2)
        .storage("s3://bucket/runs")
        .scheduling(schedulerName="by-hand")
    )


def test_a_job_runs_to_success_with_its_result(cluster: Cluster, running: OperatorProcess) -> None:
    cluster.apply(two(cluster))
    until(cluster.names, {"digits-0-0", "digits-0-1"})
    assert cluster._get("service", "digits")["spec"]["clusterIP"] == "None"
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


def test_a_failed_worker_restarts_the_group_and_the_last_failure_ends_the_job(
    cluster: Cluster, running: OperatorProcess
) -> None:
    cluster.apply(two(cluster).max_restarts(1))
    until(cluster.names, {"digits-0-0", "digits-0-1"})
    cluster.run("digits-0-0", "digits-0-1")
    cluster.fail("digits-0-1", 3, "boom")
    until(lambda: cluster.names(1), {"digits-1-0", "digits-1-1"})
    assert cluster.status()["restarts"] == 1
    record = cluster.status()["history"][0]
    assert (record["attempt"], record["cause"], record["rank"]) == (0, "WorkerFailed", 1)
    assert (record["pod"], record["exitCode"], record["message"]) == ("digits-0-1", 3, "boom")
    until(lambda: cluster.names(0), {"digits-0-1"})
    cluster.fail("digits-1-0", 4)
    until(lambda: cluster.status().get("phase"), "Failed")
    assert cluster.status()["result"]["error"]["exitCode"] == 4
    until(lambda: "MaxRestartsReached" in {reason for reason, _ in cluster.events()})


def test_a_deleted_pod_restarts_the_group(cluster: Cluster, running: OperatorProcess) -> None:
    cluster.apply(two(cluster))
    until(cluster.names, {"digits-0-0", "digits-0-1"})
    cluster.run("digits-0-0", "digits-0-1")
    until(lambda: cluster.status().get("phase"), "Running")
    cluster.delete("pod", "digits-0-0")
    until(lambda: cluster.names(1), {"digits-1-0", "digits-1-1"})
    assert cluster.status()["history"][0]["cause"] == "PodDeleted"


def test_a_deleted_service_is_back_at_once_and_that_of_an_ended_job_is_not(
    cluster: Cluster, running: OperatorProcess
) -> None:
    cluster.apply(two(cluster))
    until(cluster.names, {"digits-0-0", "digits-0-1"})

    def service() -> str:
        return cluster._kubectl("get", "services", "-o", "jsonpath={.items[*].metadata.uid}")

    def made_anew(old: str) -> bool:
        return service() not in ("", old)

    until(lambda: bool(service()))
    for run in (False, True):
        if run:
            cluster.run("digits-0-0", "digits-0-1")
            until(lambda: cluster.status().get("phase"), "Running")
        old, began = service(), time.monotonic()
        cluster._kubectl("delete", "service", "digits")
        until(partial(made_anew, old))
        assert time.monotonic() - began < BACK_S, "at once, and not with the next look at the job"
    assert cluster._get("service", "digits")["spec"]["clusterIP"] == "None"
    assert (cluster.status()["attempt"], len(cluster.pods())) == (0, 2), "nothing else happened to the job"
    cluster.succeed("digits-0-0", "digits-0-1")
    until(lambda: cluster.status().get("phase"), "Succeeded")
    cluster._kubectl("delete", "service", "digits")
    cluster.writes()
    time.sleep(SETTLED_S)
    assert (service(), cluster.writes()) == ("", [])
    assert running.refused() == []


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
        second.kill()
    uids = {pod["metadata"]["uid"] for pod in cluster.pods()}
    time.sleep(1.0)
    cluster.writes()
    with operator(cluster.bed.kubeconfig, tmp_path, **config):
        time.sleep(SETTLED_S)
        assert cluster.writes() == []
    assert {pod["metadata"]["uid"] for pod in cluster.pods()} == uids
    assert cluster.status()["attempt"] == 0


def test_suspend_resume_and_deletion(cluster: Cluster, running: OperatorProcess) -> None:
    cluster.apply(two(cluster))
    until(cluster.names, {"digits-0-0", "digits-0-1"})
    cluster.patch({"suspend": True})
    until(lambda: cluster.status().get("phase"), "Suspended")
    until(cluster.names, set())
    cluster.patch({"suspend": False})
    until(lambda: cluster.names(1), {"digits-1-0", "digits-1-1"})
    assert cluster.status()["restarts"] == 0
    cluster.delete("trainjob", "digits")
    until(cluster.names, set())


def test_a_job_made_anew_never_takes_over_the_old_ones_pods(cluster: Cluster, running: OperatorProcess) -> None:
    cluster.apply(two(cluster))
    until(cluster.names, {"digits-0-0", "digits-0-1"})
    old = {pod["metadata"]["uid"] for pod in cluster.pods()}
    cluster.delete("trainjob", "digits")
    cluster.apply(two(cluster))
    uid = cluster.job()["metadata"]["uid"]

    def owners() -> set[str]:
        return {pod["metadata"]["ownerReferences"][0]["uid"] for pod in cluster.pods()}

    until(lambda: len(cluster.pods()) == 2 and owners() == {uid})
    assert not old & {pod["metadata"]["uid"] for pod in cluster.pods()}


def test_ttl_deletes_the_finished_job_and_what_it_owns(cluster: Cluster, running: OperatorProcess) -> None:
    cluster.apply(two(cluster).ttl(2))
    until(cluster.names, {"digits-0-0", "digits-0-1"})
    cluster.succeed("digits-0-0", "digits-0-1")
    until(lambda: cluster._kubectl("get", "trainjobs", "-o", "name"), "")
    until(cluster.names, set())


def test_a_namespace_that_is_not_watched_is_left_alone(
    cluster: Cluster, running: OperatorProcess, crd_server: Bed
) -> None:
    other = f"{cluster.namespace}-other"
    crd_server.kubectl("create", "namespace", other)
    crd_server.kubectl("apply", "-f", "-", input=json.dumps(make_trainjob("digits", other).body()))
    cluster.apply(two(cluster))
    until(cluster.names, {"digits-0-0", "digits-0-1"})
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
