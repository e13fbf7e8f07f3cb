"""What users and kubelets do, done by a benchmark: make jobs, let their pods run, end or fail, clean up behind them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.apiclient import ApiClient

USER_AGENT = "benchmark-hand"
NAMESPACE = "bench"
JOBS = f"/apis/paceline.dev/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
SERVICES = f"/api/v1/namespaces/{NAMESPACE}/services"
POD_GROUPS = f"/apis/scheduling.k8s.io/v1alpha2/namespaces/{NAMESPACE}/podgroups"
MERGE = "application/merge-patch+json"
SETTLE_S = 120.0
PAGE = 500


class Hand:
    """One session after the other to the API server, under a user agent of its own."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig

    def client(self) -> ApiClient:
        """Return a session, to be entered."""
        return ApiClient(self._kubeconfig, USER_AGENT)

    async def submit(self, bodies: Iterable[dict[str, Any]]) -> None:
        """Make TrainJobs."""
        await self.make(JOBS, bodies)

    async def make(self, path: str, bodies: Iterable[dict[str, Any]]) -> None:
        """Make objects of one kind."""
        async with self.client() as client:
            await client.send_all(("POST", path, body) for body in bodies)

    async def run_all(self) -> None:
        """Do what kubelets would: every pod that waits runs."""
        state = {"running": {"startedAt": now()}}
        async with self.client() as client:
            waiting = [pod for pod in await _pods(client) if pod["status"]["phase"] == "Pending"]
            await client.send_all(_patches(waiting, "Running", state), MERGE)

    async def finish(self, jobs: int, timeout_s: float = SETTLE_S) -> None:
        """Do what kubelets would: every pod ran and succeeded. Returns when the jobs have."""
        await self.await_phase(jobs, "Running", timeout_s)
        ended = {"exitCode": 0, "reason": "Completed", "startedAt": now(), "finishedAt": now()}
        async with self.client() as client:
            await client.send_all(_patches(await _pods(client), "Succeeded", {"terminated": ended}), MERGE)
        await self.await_phase(jobs, "Succeeded", timeout_s)

    async def fail(self, name: str = "") -> str:
        """Let one pod fail, by default the first; return its name."""
        async with self.client() as client:
            pod = await client.send("GET", f"{PODS}/{name}") if name else (await _pods(client))[0]
            ended = {"exitCode": 1, "reason": "Error", "startedAt": now(), "finishedAt": now()}
            for request in _patches([pod], "Failed", {"terminated": ended}):
                await client.send(*request, MERGE)
            failed: str = pod["metadata"]["name"]
            return failed

    async def await_phase(self, jobs: int, phase: str, timeout_s: float = SETTLE_S) -> None:
        """Return when so many jobs are in a phase.

        Raises:
            TimeoutError: They were not in time.
        """
        deadline = time.monotonic() + timeout_s
        async with self.client() as client:
            while True:
                found = (await client.send("GET", JOBS))["items"]
                there = sum(job.get("status", {}).get("phase") == phase for job in found)
                if there >= jobs:
                    return
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{there} of {jobs} jobs are {phase} after {timeout_s:.0f} s")
                # The answer holds all jobs: for a thousand it is megabytes.
                await asyncio.sleep(max(0.5, jobs / 200))

    async def clean(self, timeout_s: float = SETTLE_S) -> None:
        """Delete every job, pod and Service of the namespace; return when they are gone.

        Raises:
            TimeoutError: Something stayed.
        """
        async with self.client() as client:
            await client.send("DELETE", JOBS)
            await client.send("DELETE", PODS, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})
            paths = [JOBS, PODS, SERVICES] + [POD_GROUPS] * await served(client)
            deadline = time.monotonic() + timeout_s
            while left := [path for path in paths if (await client.send("GET", f"{path}?limit=1"))["items"]]:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not empty after {timeout_s:.0f} s: {', '.join(left)}")
                await asyncio.sleep(0.5)


def trainjob(name: str, workers: int, *, gang: str = "Timeout", node: str = "", **spec: Any) -> dict[str, Any]:
    """Return a job like a user's: a framework, storage.

    Args:
        name: Of the job.
        workers: Pods, of one process each.
        gang: `Timeout` is what `Auto` comes to without PodGroups, and costs no write.
        node: The node of all its pods. Empty: the scheduler finds one.
        spec: Further fields of the spec.
    """
    pod = {"spec": {"nodeName": node}} if node else {}
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
            "scheduling": {"gang": gang},
            "podTemplate": pod,
            **spec,
        },
    }


def trainjobs(jobs: int, workers: int, nodes: Sequence[str] = (), **spec: Any) -> list[dict[str, Any]]:
    """Return `jobs` such jobs, each with all its pods on one of the nodes (none: the scheduler finds them)."""
    return [trainjob(f"job-{n}", workers, node=nodes[n % len(nodes)] if nodes else "", **spec) for n in range(jobs)]


async def served(client: ApiClient) -> bool:
    """Tell whether the API server serves PodGroups."""
    try:
        await client.send("GET", f"{POD_GROUPS}?limit=1")
    except RuntimeError:
        return False
    return True


def now() -> str:
    """Return the time as objects carry it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


async def _pods(client: ApiClient) -> list[dict[str, Any]]:
    """Return all pods: names and containers alone, since 10,000 whole ones are a hundred megabytes."""
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        page = await client.send("GET", f"{PODS}?limit={PAGE}&continue={after}")
        for pod in page["items"]:
            containers = [{key: c[key] for key in ("name", "image")} for c in pod["spec"]["containers"]]
            name, phase = pod["metadata"]["name"], pod["status"]["phase"]
            found.append({"metadata": {"name": name}, "spec": {"containers": containers}, "status": {"phase": phase}})
        after = page["metadata"].get("continue", "")
        if not after:
            return found


def _patches(pods: Iterable[dict[str, Any]], phase: str, state: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for pod in pods:
        container = pod["spec"]["containers"][0]
        status = {
            "name": container["name"], "image": container["image"], "imageID": "", "ready": False, "restartCount": 0,
            "state": state,
        }  # fmt: skip
        body = {"status": {"phase": phase, "containerStatuses": [status]}}
        yield "PATCH", f"{PODS}/{pod['metadata']['name']}/status", body
