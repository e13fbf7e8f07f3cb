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
import yaml

from benchmarks import hand
from benchmarks.apiclient import ApiClient
from benchmarks.audit import WRITES, AuditLog, Request, requests
from benchmarks.hand import JOBS, NAMESPACE, PODS, SERVICES, SETTLE_S, Hand, trainjob, trainjobs
from benchmarks.numbers import cpu_s, percentile
from e2e.cluster import Bed, KubectlError, fakenodes
from e2e.operators import OperatorProcess, operator
from paceline.api import TrainJob
from paceline_operator.resources.service import service

ROOT = Path(__file__).resolve().parent.parent
BARE = "bare-script"
OPERATOR_AGENT = "paceline-operator"
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
FAKE_LEASE_S = 600
COSTED = 300
# On busy cores the API server needs a while for a new kind.
SERVED_S = 60
_POD, _CREATE, _CREATED, _SUBRESOURCE = b'"resource":"pods"', b'"verb":"create"', b'"code":201', b'"subresource"'


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
        return percentile(self.latencies, 0.99)


@dataclass(frozen=True, slots=True)
class Running:
    """The operator while it runs."""

    operator: OperatorProcess
    process: psutil.Process

    @property
    def rss_mb(self) -> float:
        """Resident memory."""
        return float(self.process.memory_info().rss) / 1e6

    @property
    def cpu_s(self) -> float:
        """CPU seconds so far."""
        return cpu_s(self.process)


class Bench:
    """One API server and what is measured on it."""

    def __init__(self, b: Bed) -> None:
        self.bed = b
        self.hand = Hand(b.kubeconfig)
        self.audit = AuditLog(b.audit_log)

    def prepare(self) -> None:
        """Install the CRD and make the namespace."""
        self.bed.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        # `kubectl wait` fails on a CRD that has no conditions yet.
        deadline = time.monotonic() + SERVED_S
        while True:
            try:
                self.bed.kubectl("get", "trainjobs.paceline.dev", "--all-namespaces")
                break
            except KubectlError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        self.bed.kubectl("create", "namespace", NAMESPACE)

    def still_kubelets(self) -> None:
        """Let the fake nodes stay ready and their pods alone: kwok would need more CPU for thousands than all others.

        Pods that the scheduler or their job puts there stay Pending until `hand` says otherwise, and those that are
        deleted with a grace period stay until they are deleted without one.
        """
        self._fake_nodes([stage for stage in _stages() if stage["spec"]["resourceRef"]["kind"] == "Node"])

    def silent_kubelets(self) -> None:
        """Let pods run without an address: the operator would ask for agents there, and no answer would come."""
        stages = _stages()
        for stage in stages:
            template = stage["spec"]["next"].get("statusTemplate", "")
            if "podIP" in template:
                before, rest = template.split("{{ with PodIPsWith", 1)
                stage["spec"]["next"]["statusTemplate"] = before + rest.split("{{ end }}\n", 1)[1]
        self._fake_nodes(stages)

    def _fake_nodes(self, stages: list[dict[str, Any]]) -> None:
        config = self.bed.folder / "stages.yaml"
        config.write_text(yaml.safe_dump_all(stages, sort_keys=False))
        kwok = self.bed.process("kwok")
        kwok.kill()
        # A new kwok waits until the leases of the old one run out, and the nodes are taken for lost before that.
        self.bed.kubectl("delete", "leases", "--all", "--namespace=kube-node-lease")
        kwok.start(fakenodes.command(self.bed.kubeconfig, lease_s=FAKE_LEASE_S, config=config))

    def bare(self, jobs: int, workers: int, body: dict[str, Any]) -> Creation:
        """Let the bare script create the pods; clean up after it."""
        self.audit.new()
        before = time.process_time()
        asyncio.run(self._bare(jobs, workers, body))
        cpu_s = time.process_time() - before
        made = self._created(BARE)
        self.clean(jobs * workers)
        first = min(request.received for request in made)
        latencies = [max(r.finished for r in of) - first for of in by_job(made).values()]
        return Creation(jobs, jobs * workers, max(r.finished for r in made) - first, tuple(latencies), cpu_s)

    def operator(
        self, jobs: int, workers: int, *, gang: str = "Timeout", nodes: Sequence[str] = ()
    ) -> tuple[Creation, dict[str, float]]:
        """Let the operator create the pods of as many TrainJobs, run them to Succeeded, and clean up.

        With `nodes` the pods name them: `still_kubelets` goes before, and nothing is run.

        Returns:
            The creation, and `{"writes": writes per job beyond pods and Service, "rss_mb": ...}`.
            The writes go to the last pod's creation alone where nodes are named or the shape is `unfinished`.
        """
        with self.running_operator() as running:
            self.audit.new()
            before = running.cpu_s
            asyncio.run(self.hand.submit(trainjobs(jobs, workers, nodes, gang=gang)))
            seen = self.await_pods(jobs * workers, timeout_s=SETTLE_MANY_S)
            cpu_s = running.cpu_s - before
            made = [r for r in seen if is_new_pod(r)]
            known = {r.name: r.finished for r in seen if r.resource == "trainjobs" and r.verb == "create"}
            # The same window as the bare script's: from the first pod asked for to the last one created. What goes
            # before (the job is seen) is in the latencies.
            first = min(r.received for r in made)
            latencies = [max(r.finished for r in of) - known[job] for job, of in by_job(made).items()]
            seconds = max(r.finished for r in made) - first
            creation = Creation(jobs, jobs * workers, seconds, tuple(latencies), cpu_s)
            if not nodes and not self.unfinished(jobs, workers):
                asyncio.run(self.hand.finish(jobs))
            rss_mb = running.rss_mb
        # The operator has stopped, so all its events are posted.
        wrote = [r for r in seen + self.audit.new() if OPERATOR_AGENT in r.user_agent and r.verb in WRITES]
        beyond = [r for r in wrote if r.resource not in {"pods", "services", "leases"}]
        cost = {"writes": len(beyond) / jobs, "rss_mb": rss_mb}
        self.clean(jobs * workers)
        return creation, cost

    @staticmethod
    def unfinished(jobs: int, workers: int) -> bool:
        """Whether jobs of this shape are only created and not run to their end."""
        return jobs * workers > MAX_FINISHED_PODS

    def restart(self, workers: int, nodes: Sequence[str] = ()) -> float:
        """Fail one of `workers` pods; return the seconds until the last pod of the next attempt was created.

        With `nodes` the pods name them and are called running by hand: `still_kubelets` goes before.
        """
        with self.running_operator():
            self.audit.new()
            asyncio.run(self.hand.submit(trainjobs(1, workers, nodes)))
            self.await_pods(workers)
            if nodes:
                asyncio.run(self.hand.run_all())
            asyncio.run(self.hand.await_phase(1, "Running"))
            self.audit.new()
            asyncio.run(self.hand.fail())
            seen = self.await_pods(workers)
        failed = next(r.finished for r in seen if hand.USER_AGENT in r.user_agent and r.subresource == "status")
        self.clean(2 * workers)
        return max(r.finished for r in seen if is_new_pod(r)) - failed

    def idle(self, jobs: int, workers: int) -> dict[str, float]:
        """Memory with `jobs` x `workers` running pods, and CPU over `IDLE_S` in which nothing happens.

        The pods name their nodes and are called running by this script: scheduler and fake kubelets would take ten
        minutes of two shared cores for them. Leaves everything there, since to delete it would take longer than the
        measurement.
        """
        self.still_kubelets()
        with self.running_operator() as running:
            created_cpu = self.fill(running, jobs, workers)
            time.sleep(CALM_S)
            before = running.cpu_s
            time.sleep(IDLE_S)
            idle = (running.cpu_s - before) / IDLE_S
            rss_mb = running.rss_mb
        return {
            "jobs": jobs, "pods": jobs * workers, "rss_mb": rss_mb, "idle_cpu": idle,
            "cpu_ms_a_pod": created_cpu / (jobs * workers) * 1e3,
        }  # fmt: skip

    def server_cost(self) -> dict[str, float]:
        """CPU of the API server in ms for the creation of one object of each kind, while no operator runs.

        The pods name their node, and nobody runs them. Leaves the objects there.
        """
        self.still_kubelets()
        pod = self.template(self.bed.fake_node_names[0])
        bodies = {
            JOBS: trainjobs(COSTED, 4),
            PODS: [named(pod, f"bare-{n}", "bare") for n in range(COSTED)],
            SERVICES: [_service(f"bare-{n}") for n in range(COSTED)],
        }
        server = psutil.Process(self.bed.process("kube-apiserver").pid)
        costs = {}
        for path, of_kind in bodies.items():
            before = cpu_s(server)
            asyncio.run(self.hand.make(path, of_kind))
            costs[of_kind[0]["kind"]] = 1e3 * (cpu_s(server) - before) / COSTED
        return costs

    def fill(self, running: Running, jobs: int, workers: int) -> float:
        """Have jobs made and call their pods running; return the operator's CPU seconds for the creation."""
        self.audit.new()
        asyncio.run(self.hand.submit(trainjobs(jobs, workers, self.bed.fake_node_names)))
        self.await_pods(jobs * workers, timeout_s=SETTLE_MANY_S)
        created_cpu = running.cpu_s
        print(f"{jobs * workers} pods are made; now they are called running, which takes longer", flush=True)
        asyncio.run(self.hand.run_all())
        asyncio.run(self.hand.await_phase(jobs, "Running", timeout_s=SETTLE_MANY_S))
        return created_cpu

    @contextmanager
    def running_operator(self, kubeconfig: Path | None = None, **config: Any) -> Iterator[Running]:
        """Run the operator; stop it at the end as Kubernetes does, unless it was killed.

        Args:
            kubeconfig: Of another user than the administrator.
            config: Settings beside `OPERATOR_CONFIG`.

        Raises:
            RuntimeError: It ended by itself.
        """
        with (
            tempfile.TemporaryDirectory() as folder,
            operator(kubeconfig or self.bed.kubeconfig, Path(folder), "bench", **(OPERATOR_CONFIG | config)) as running,
        ):
            yield Running(running, psutil.Process(running.process.pid))
            ended = running.process.poll()
            if ended is not None and ended >= 0:
                raise RuntimeError(f"the operator ended by itself:\n{running.log.read_text()[-3000:]}")
            if ended is None:
                # As Kubernetes does: it posts its last events.
                running.stop()

    async def _bare(self, jobs: int, workers: int, body: dict[str, Any]) -> None:
        async with ApiClient(self.bed.kubeconfig, BARE) as client:
            await client.send_all(
                ("POST", PODS, named(body, f"bare-{job}-0-{index}", f"bare-{job}"))
                for job in range(jobs)
                for index in range(workers)
            )

    def clean(self, pods: int = 0) -> None:
        """Empty the namespace; `pods` says about how many are there."""
        # One request deletes them all, one after the other.
        asyncio.run(self.hand.clean(SETTLE_S + pods / 20))

    def _created(self, user_agent: str) -> list[Request]:
        seen = self.audit.new()
        return [r for r in seen if r.user_agent == user_agent and is_new_pod(r)]

    def await_pods(self, count: int, timeout_s: float = SETTLE_S) -> list[Request]:
        """Wait until the operator has created `count` pods; return every request of that time that succeeded.

        Raises:
            TimeoutError: It had not in time.
        """
        lines: list[bytes] = []
        made = 0
        deadline = time.monotonic() + timeout_s
        while True:
            fresh = self.audit.lines()
            made += sum(is_operators_pod(line) for line in fresh)
            lines += fresh
            if made >= count:
                return [r for r in requests(lines) if r.code < 300]
            if time.monotonic() > deadline:
                raise TimeoutError(f"the operator created {made} of {count} pods in {timeout_s:.0f} s")
            time.sleep(0.2)

    def template(self, node: str = "") -> dict[str, Any]:
        """Return the body of a pod as the operator makes it, without its owner: what the bare script sends.

        Args:
            node: The node of all its pods. Empty: the scheduler finds one.
        """
        with self.running_operator():
            self.audit.new()
            asyncio.run(self.hand.submit(trainjobs(1, 2)))
            self.await_pods(2)
            text = self.bed.kubectl("get", "pod", "job-0-0-1", "-n", NAMESPACE, "-o", "json")
        self.clean()
        pod: dict[str, Any] = json.loads(text)
        spec = pod["spec"]
        spec.pop("nodeName", None)
        if node:
            spec["nodeName"] = node
        kept = {"labels": pod["metadata"]["labels"]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": kept, "spec": spec}


def _service(name: str) -> dict[str, Any]:
    """As the operator makes it, without its owner."""
    metadata = {"name": name, "namespace": NAMESPACE, "uid": "none"}
    made = service(TrainJob.from_body(trainjob(name, 4) | {"metadata": metadata}))
    del made["metadata"]["ownerReferences"]
    return made


def _stages() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(fakenodes.STAGES.read_text()))


def is_new_pod(request: Request) -> bool:
    """Whether a request made a pod."""
    return (request.resource, request.verb, request.subresource, request.code) == ("pods", "create", "", 201)


def is_operators_pod(line: bytes) -> bool:
    """Whether a line of the audit log tells of a pod that the operator has made: so many are not decoded for it."""
    return all(word in line for word in (_POD, _CREATE, _CREATED, OPERATOR_AGENT.encode())) and _SUBRESOURCE not in line


def by_job(made: list[Request]) -> dict[str, list[Request]]:
    """Group pod creations by the job in their names (`<job>-<attempt>-<index>`)."""
    found: dict[str, list[Request]] = defaultdict(list)
    for request in made:
        found[request.name.rsplit("-", 2)[0]].append(request)
    return found


def named(body: dict[str, Any], name: str, job: str) -> dict[str, Any]:
    """Return the bare script's pod under a name, as one of a job."""
    labels = body["metadata"]["labels"] | {"paceline.dev/job": job}
    return body | {
        "metadata": body["metadata"] | {"name": name, "labels": labels},
        "spec": body["spec"] | {"hostname": name},
    }
