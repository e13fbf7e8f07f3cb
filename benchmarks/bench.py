"""One API server, the operator and the bare script on it, and what is measured of both."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.apiclient import ApiClient
from benchmarks.audit import WRITES, AuditLog, Request
from e2e.cluster import Bed
from e2e.operators import operator

ROOT = Path(__file__).resolve().parent.parent
BARE = "bare-script"
HAND = "benchmark-hand"
OPERATOR_AGENT = "paceline-operator"
NAMESPACE = "bench"
JOBS = f"/apis/paceline.dev/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
MERGE = "application/merge-patch+json"
SETTLE_S = 120
# API server and benchmark share the cores with the operator: a lease of 15 s could be lost to the load alone.
OPERATOR_CONFIG: dict[str, Any] = {
    "agentImage": "paceline/operator:dev",
    "leaderElection": {"leaseDurationSeconds": 60},
}
# 10,000 pods take a minute on two quiet cores to be created, and as long to be called running.
SETTLE_MANY_S = 300
CALM_S = 15
IDLE_S = 30
# Larger shapes are not run to their end: the fake kubelets and the scheduler need minutes for them on few cores.
MAX_FINISHED_PODS = 400


@dataclass(frozen=True, slots=True)
class Creation:
    """How fast one side made `pods` pods for `jobs` jobs."""

    jobs: int
    pods: int
    seconds: float
    latencies: tuple[float, ...]
    """Seconds for each job, from the job known to its last pod created."""
    cpu_s: float
    """CPU seconds of the side's own process, from the first job or pod known to the last pod created."""

    @property
    def cpu_ms_a_pod(self) -> float:
        """CPU of the side's own process for a pod, in ms: hardly depends on what else the machine does."""
        return 1e3 * self.cpu_s / self.pods

    @property
    def rate(self) -> float:
        """Pods per second."""
        return self.pods / self.seconds

    @property
    def p99(self) -> float:
        """99th percentile of the jobs' latencies, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


class Bench:
    """One API server and what is measured on it."""

    def __init__(self, b: Bed) -> None:
        self._bed = b
        self._audit = AuditLog(b.audit_log)

    def prepare(self) -> None:
        """Install the CRD and make the namespace."""
        self._bed.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        self._bed.kubectl("wait", "--for=condition=Established", "crd/trainjobs.paceline.dev", "--timeout=30s")
        self._bed.kubectl("create", "namespace", NAMESPACE)

    def bare(self, jobs: int, workers: int, body: dict[str, Any]) -> Creation:
        """Let the bare script create the pods; clean up after it."""
        before = time.process_time()
        asyncio.run(self._bare(jobs, workers, body))
        cpu_s = time.process_time() - before
        made = self._created(BARE)
        asyncio.run(self._clean())
        first = min(request.received for request in made)
        latencies = [max(r.finished for r in of) - first for of in _by_job(made).values()]
        return Creation(jobs, jobs * workers, max(r.finished for r in made) - first, tuple(latencies), cpu_s)

    def operator(self, jobs: int, workers: int) -> tuple[Creation, dict[str, float]]:
        """Let the operator create the pods of as many TrainJobs, run them to Succeeded, and clean up.

        Returns:
            The creation, and `{"writes": writes per job beyond pods and Service, "rss_mb": ...}`.
            The writes say nothing where the shape is `unfinished`.
        """
        with self._running_operator() as process:
            self._audit.new()
            before = sum(process.cpu_times()[:2])
            asyncio.run(self._submit(jobs, workers))
            seen = self._await_pods(jobs * workers)
            cpu_s = sum(process.cpu_times()[:2]) - before
            made = [r for r in seen if r.resource == "pods" and r.verb == "create" and not r.subresource]
            known = {r.name: r.finished for r in seen if r.resource == "trainjobs" and r.verb == "create"}
            # The same window as the bare script's: from the first pod asked for to the last one created. What goes
            # before (the job is seen) is in the latencies.
            first = min(r.received for r in made)
            latencies = [max(r.finished for r in of) - known[job] for job, of in _by_job(made).items()]
            seconds = max(r.finished for r in made) - first
            creation = Creation(jobs, jobs * workers, seconds, tuple(latencies), cpu_s)
            if not self.unfinished(jobs, workers):
                asyncio.run(self._finish(jobs))
            rss_mb = process.memory_info().rss / 1e6
        # The operator has stopped, so all its events are posted.
        wrote = [r for r in seen + self._audit.new() if OPERATOR_AGENT in r.user_agent and r.verb in WRITES]
        beyond = [r for r in wrote if r.resource not in {"pods", "services", "leases"}]
        cost = {"writes": len(beyond) / jobs, "rss_mb": rss_mb}
        asyncio.run(self._clean())
        return creation, cost

    @staticmethod
    def unfinished(jobs: int, workers: int) -> bool:
        """Whether jobs of this shape are only created and not run to their end."""
        return jobs * workers > MAX_FINISHED_PODS

    def restart(self, workers: int) -> float:
        """Fail one of `workers` pods; return the seconds until the last pod of the next attempt was created."""
        with self._running_operator():
            self._audit.new()
            asyncio.run(self._submit(1, workers))
            self._await_pods(workers)
            asyncio.run(self._await_phase(1, "Running"))
            self._audit.new()
            asyncio.run(self._fail_one())
            seen = self._await_pods(workers)
        failed = next(r.finished for r in seen if HAND in r.user_agent and r.subresource == "status")
        made = [r for r in seen if r.resource == "pods" and r.verb == "create" and not r.subresource]
        asyncio.run(self._clean())
        return max(r.finished for r in made) - failed

    def idle(self, jobs: int, workers: int) -> dict[str, float]:
        """Memory with `jobs` x `workers` running pods, and CPU over `IDLE_S` in which nothing happens.

        The pods name their nodes and are called running by this script: scheduler and fake kubelets would take ten
        minutes of two shared cores for them. Leaves everything there, since to delete it would take longer than the
        measurement.
        """
        self._bed.process("kwok").kill()
        nodes = self._bed.fake_node_names
        with self._running_operator() as process:
            self._audit.new()
            asyncio.run(self._submit(jobs, workers, nodes))
            self._await_pods(jobs * workers, timeout_s=SETTLE_MANY_S)
            created_cpu = sum(process.cpu_times()[:2])
            asyncio.run(self._run_all())
            asyncio.run(self._await_phase(jobs, "Running", timeout_s=SETTLE_MANY_S))
            time.sleep(CALM_S)
            before = sum(process.cpu_times()[:2])
            time.sleep(IDLE_S)
            idle = (sum(process.cpu_times()[:2]) - before) / IDLE_S
            rss_mb = process.memory_info().rss / 1e6
        return {
            "jobs": jobs, "pods": jobs * workers, "rss_mb": rss_mb, "idle_cpu": idle,
            "cpu_ms_a_pod": created_cpu / (jobs * workers) * 1e3,
        }  # fmt: skip

    @contextmanager
    def _running_operator(self) -> Iterator[psutil.Process]:
        with (
            tempfile.TemporaryDirectory() as folder,
            operator(self._bed.kubeconfig, Path(folder), "bench", **OPERATOR_CONFIG) as running,
        ):
            yield psutil.Process(running.process.pid)
            if running.process.poll() is not None:
                raise RuntimeError(f"the operator ended by itself:\n{running.log.read_text()[-3000:]}")
            # As Kubernetes does: it posts its last events.
            running.stop()

    async def _bare(self, jobs: int, workers: int, body: dict[str, Any]) -> None:
        async with ApiClient(self._bed.kubeconfig, BARE) as client:
            await client.send_all(
                ("POST", PODS, _named(body, f"bare-{job}-0-{index}", f"bare-{job}"))
                for job in range(jobs)
                for index in range(workers)
            )

    async def _submit(self, jobs: int, workers: int, nodes: Sequence[str] = ()) -> None:
        bodies = [trainjob(f"job-{n}", workers) for n in range(jobs)]
        for number, body in enumerate(bodies if nodes else ()):
            body["spec"]["podTemplate"] = {"spec": {"nodeName": nodes[number % len(nodes)]}}
        async with ApiClient(self._bed.kubeconfig, HAND) as client:
            await client.send_all(("POST", JOBS, body) for body in bodies)

    async def _finish(self, jobs: int) -> None:
        """Do what kubelets would: every pod ran and succeeded."""
        await self._await_phase(jobs, "Running")
        async with ApiClient(self._bed.kubeconfig, HAND) as client:
            pods = (await client.send("GET", PODS))["items"]
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            ended = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}
            await client.send_all(
                (
                    (("PATCH", f"{PODS}/{pod['metadata']['name']}/status", _ended(pod, "Succeeded", ended)))
                    for pod in pods
                ),
                MERGE,
            )
        await self._await_phase(jobs, "Succeeded")

    async def _run_all(self) -> None:
        """Do what kubelets would: every pod runs."""
        async with ApiClient(self._bed.kubeconfig, HAND) as client:
            pods = (await client.send("GET", PODS))["items"]
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            await client.send_all(
                (
                    (
                        "PATCH",
                        f"{PODS}/{pod['metadata']['name']}/status",
                        _state(pod, "Running", {"running": {"startedAt": now}}),
                    )
                    for pod in pods
                ),
                MERGE,
            )

    async def _fail_one(self) -> None:
        async with ApiClient(self._bed.kubeconfig, HAND) as client:
            pod = (await client.send("GET", PODS))["items"][0]
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            ended = {"exitCode": 1, "reason": "Error", "startedAt": now, "finishedAt": now}
            path = f"{PODS}/{pod['metadata']['name']}/status"
            await client.send("PATCH", path, _ended(pod, "Failed", ended), MERGE)

    async def _await_phase(self, jobs: int, phase: str, timeout_s: float = SETTLE_S) -> None:
        deadline = time.monotonic() + timeout_s
        async with ApiClient(self._bed.kubeconfig, HAND) as client:
            while True:
                found = (await client.send("GET", JOBS))["items"]
                there = sum(job.get("status", {}).get("phase") == phase for job in found)
                if there >= jobs:
                    return
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{there} of {jobs} jobs are {phase} after {timeout_s:.0f} s")
                # The answer holds all jobs: for a thousand it is megabytes.
                await asyncio.sleep(max(0.5, jobs / 200))

    async def _clean(self) -> None:
        """Delete every job, pod and Service of the namespace."""
        async with ApiClient(self._bed.kubeconfig, HAND) as client:
            await client.send("DELETE", JOBS)
            await client.send("DELETE", PODS, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})
            deadline = time.monotonic() + SETTLE_S
            services = f"/api/v1/namespaces/{NAMESPACE}/services"
            while any([(await client.send("GET", f"{path}?limit=1"))["items"] for path in (JOBS, PODS, services)]):
                if time.monotonic() > deadline:
                    raise TimeoutError("the namespace was not empty in time")
                await asyncio.sleep(0.5)

    def _created(self, user_agent: str) -> list[Request]:
        seen = self._audit.new()
        return [r for r in seen if r.user_agent == user_agent and r.verb == "create" and r.code == 201]

    def _await_pods(self, count: int, timeout_s: float = SETTLE_S) -> list[Request]:
        """Wait until the operator has created `count` pods; return every request of that time."""
        seen: list[Request] = []
        deadline = time.monotonic() + timeout_s
        while True:
            seen += self._audit.new()
            made = [
                r for r in seen
                if r.resource == "pods" and r.verb == "create" and not r.subresource
                and r.code == 201 and OPERATOR_AGENT in r.user_agent
            ]  # fmt: skip
            if len(made) >= count:
                return [r for r in seen if r.code < 300]
            if time.monotonic() > deadline:
                raise TimeoutError(f"the operator created {len(made)} of {count} pods in {timeout_s:.0f} s")
            time.sleep(0.2)

    def template(self) -> dict[str, Any]:
        """Return the body of a pod as the operator makes it, without its owner: what the bare script sends."""
        with self._running_operator():
            self._audit.new()
            asyncio.run(self._submit(1, 2))
            self._await_pods(2)
            text = self._bed.kubectl("get", "pod", "job-0-0-1", "-n", NAMESPACE, "-o", "json")
        asyncio.run(self._clean())
        pod: dict[str, Any] = json.loads(text)
        spec = pod["spec"]
        spec.pop("nodeName", None)
        kept = {"labels": pod["metadata"]["labels"]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": kept, "spec": spec}


def trainjob(name: str, workers: int) -> dict[str, Any]:
    """Return a job like a user's: a framework, a GPU each, storage."""
    return {
        "apiVersion": "paceline.dev/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name},
        "spec": {
            "framework": "torch",
            "image": "paceline/torch:dev",
            "command": ["python3", "train.py"],
            "workers": {"count": workers, "resources": {"cpu": "10m", "memory": "16Mi"}},
            "storage": {"path": "s3://bucket/runs", "secretRef": {"name": "s3-credentials"}},
        },
    }


def _by_job(made: list[Request]) -> dict[str, list[Request]]:
    """Group pod creations by the job in their names (`<job>-<attempt>-<index>`)."""
    found: dict[str, list[Request]] = defaultdict(list)
    for request in made:
        found[request.name.rsplit("-", 2)[0]].append(request)
    return found


def _named(body: dict[str, Any], name: str, job: str) -> dict[str, Any]:
    labels = body["metadata"]["labels"] | {"paceline.dev/job": job}
    return body | {"metadata": {"name": name, "labels": labels}, "spec": body["spec"] | {"hostname": name}}


def _ended(pod: dict[str, Any], phase: str, ended: dict[str, Any]) -> dict[str, Any]:
    return _state(pod, phase, {"terminated": ended})


def _state(pod: dict[str, Any], phase: str, state: dict[str, Any]) -> dict[str, Any]:
    container = pod["spec"]["containers"][0]
    status = {
        "name": container["name"], "image": container["image"], "imageID": "", "ready": False, "restartCount": 0,
        "state": state,
    }  # fmt: skip
    return {"status": {"phase": phase, "containerStatuses": [status]}}
