"""The operator's process: reads the configuration, starts the parts, stops them in order.

python -m paceline_operator.main --config /etc/paceline/config.yaml
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from paceline.api import names
from paceline_operator import logs, settings
from paceline_operator.cluster import access, workers
from paceline_operator.cluster.agents import AgentPoller
from paceline_operator.cluster.client import ApiError, Client, UnreachableError
from paceline_operator.cluster.gate import Gate
from paceline_operator.cluster.informer import Informer, PodStore
from paceline_operator.cluster.lease import Lease, LostError
from paceline_operator.cluster.memory import Jobs
from paceline_operator.cluster.podgroups import PodGroups
from paceline_operator.cluster.reconciler import Reconciler, utc_now
from paceline_operator.cluster.recorder import Recorder
from paceline_operator.cluster.rollcall import RollCall
from paceline_operator.cluster.services import ServiceStore
from paceline_operator.cluster.workqueue import WorkQueue
from paceline_operator.handlers.supervisor import Supervisor
from paceline_operator.health import Health, serve
from paceline_operator.metrics import Metrics
from paceline_operator.settings import Settings

log = logging.getLogger(__name__)

CRD_RETRY_S = 3.0
POD_GROUP_TRIES = 5
# Within the 30 s that Kubernetes gives by default.
STOP_S = 20.0
EVENTS_S = 3.0


def run() -> None:
    """Run the operator until SIGTERM or SIGINT: the console script."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run the operator; return the exit code: 0 after a stop, 1 after a lost lease or a failure, 2 for bad settings."""
    arguments = _arguments(argv)
    try:
        config = settings.load(arguments.config, **_overrides(arguments))
        way = access.load(arguments.kubeconfig, arguments.context)
    except (settings.SettingsError, access.AccessError) as error:
        print(f"paceline-operator: {error}", file=sys.stderr)  # noqa: T201
        return 2
    logs.set_up(config.log_level, config.log_format)
    try:
        uvloop.run(Operator(config, way).run())
    except LostError as error:
        log.error("stopping: %s", error)
        return 1
    except Exception:
        log.exception("stopping")
        return 1
    return 0


class Operator:
    """All parts of one operator, wired."""

    def __init__(self, config: Settings, way: access.Access) -> None:
        self._config = config
        self._way = way
        self._metrics = Metrics()
        self._health = Health()
        self._stop = asyncio.Event()
        self._identity = f"{os.environ.get('POD_NAME') or socket.gethostname()}_{os.getpid()}"
        self._namespace = os.environ.get("POD_NAMESPACE") or "default"
        self._leading = False

    async def run(self) -> None:
        """Run until a signal.

        Raises:
            LostError: The lease is lost: the process has to end, since another works now.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        async with (
            serve(self._config.http_port, self._health, self._metrics),
            Client(self._way, observe=self._metrics.requested) as client,
            # A connection of its own: behind a thousand creations the renewal of the lease would come too late.
            Client(self._way, observe=self._metrics.requested) as lease_client,
        ):
            if await self._wait_for_crd(client):
                await self._work(client, lease_client)
        log.info("stopped")

    async def _work(self, client: Client, lease_client: Client) -> None:
        queue, gate = WorkQueue(), Gate()
        pods = PodStore(lambda key, owner: queue.add(key))
        services = ServiceStore(queue.add)
        jobs = Jobs(pods, services, queue.add)
        recorder = Recorder(client, self._identity, utc_now, busy=lambda: gate.busy)
        groups = PodGroups(client, self._config.namespaces, gate, queue.add)
        reconciler = Reconciler(
            client,
            jobs,
            recorder,
            self._config.job_defaults(),
            gate=gate,
            groups=groups,
            counted=self._metrics.counted,
        )
        self._metrics.watch(queue.__len__, pods.__len__, jobs.phases, jobs.straggling)

        roll_call = RollCall(client, self._config.namespaces, reconciler.remembered, reconciler.forget)

        def feed(type: str | None, body: dict[str, Any]) -> None:
            if type is None:
                roll_call.soon()
            if type == "DELETED":
                reconciler.gone(body)
            elif not reconciler.is_echo(type, body):
                queue.add(reconciler.take(body))

        watched = self._config.namespaces or (None,)
        informers = [Informer(client, pods, "pods", namespace) for namespace in watched] + [
            Informer(client, services, "services", namespace) for namespace in watched
        ]
        poller = AgentPoller(client, jobs, pods, queue.add, poll_s=self._config.progress_poll_seconds)
        supervisor = Supervisor(self._way, self._config.namespaces, feed)
        background = [asyncio.create_task(informer.run(), name="informer") for informer in informers] + [
            asyncio.create_task(supervisor.run(), name="trainjobs"),
            asyncio.create_task(roll_call.run(), name="roll call"),
        ]
        self._health.ready = lambda: (
            supervisor.problem if all(i.synced.is_set() for i in informers) else "pods and Services are not listed yet"
        )
        try:
            await self._first(asyncio.gather(*(informer.synced.wait() for informer in informers)), background)
            lease = await self._lead(lease_client, background)
            if self._stop.is_set():
                return
            await self._first(self._pod_groups(groups), background)
            background += [
                asyncio.create_task(groups.run(), name="podgroups"),
                asyncio.create_task(poller.run(), name="agents"),
                asyncio.create_task(recorder.run(), name="events"),
            ]
            await self._lead_until_stopped(queue, reconciler, recorder, lease, background)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    async def _lead_until_stopped(
        self,
        queue: WorkQueue,
        reconciler: Reconciler,
        recorder: Recorder,
        lease: Lease | None,
        background: list[asyncio.Task[None]],
    ) -> None:
        self._metrics.leading(True)
        _spare_the_collector()
        log.info("working as %s", self._identity)
        if lease is not None:
            background.append(asyncio.create_task(lease.hold(), name="lease"))
        working = asyncio.create_task(workers.run(queue, reconciler, observe=self._metrics.reconciled))
        try:
            await self._first(self._stop.wait(), [working, *background])
        except BaseException:
            # Another may be working already: what is in hand is dropped, not finished.
            working.cancel()
            raise
        log.info("stopping: finishing what is in hand")
        queue.close()
        await asyncio.wait([working], timeout=STOP_S)
        working.cancel()
        await recorder.drain(EVENTS_S)
        if lease is not None:
            await lease.release()
        self._metrics.leading(False)

    async def _lead(self, client: Client, background: list[asyncio.Task[None]]) -> Lease | None:
        election = self._config.leader_election
        if not election.enabled:
            return None
        lease = Lease(
            client,
            namespace=self._namespace,
            name=election.lease_name,
            identity=self._identity,
            duration_s=election.lease_duration_seconds,
        )
        await self._first(lease.acquire(), background)
        return lease

    async def _first(self, wanted: Any, background: Sequence[asyncio.Task[None]]) -> None:
        """Wait for `wanted` or the stop; a part that ends before that is an error, and ends the operator."""
        tasks = {asyncio.ensure_future(wanted), asyncio.create_task(self._stop.wait())}
        done, _ = await asyncio.wait({*tasks, *background}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks - done:
            task.cancel()
        for task in done:
            task.result()
            if task in background:
                raise RuntimeError(f"{task.get_name()} ended by itself")

    async def _pod_groups(self, groups: PodGroups) -> None:
        """Learn which PodGroups there are: by the leader, since before that another one made and deleted some."""
        for _ in range(POD_GROUP_TRIES):
            try:
                await groups.look()
                break
            except (ApiError, UnreachableError) as error:
                log.warning("cannot ask for PodGroups: %s; jobs go by Timeout until it is asked again", error)
                await asyncio.sleep(CRD_RETRY_S)

    async def _wait_for_crd(self, client: Client) -> bool:
        """Wait until TrainJobs are served: the chart may install both at once. False when stopped meanwhile."""
        group = f"/apis/{names.API_VERSION}"
        told = ""
        while not self._stop.is_set():
            problem = await self._crd_problem(client, group)
            if not problem:
                return True
            if problem != told:
                log.warning("%s; trying again", problem)
                told = problem
            self._health.ready = lambda problem=problem: problem  # type: ignore[misc]
            try:
                await asyncio.wait_for(self._stop.wait(), CRD_RETRY_S)
            except TimeoutError:
                pass
        return False

    async def _crd_problem(self, client: Client, group: str) -> str:
        try:
            served = await client.get_json(group)
        except ApiError as error:
            if error.code == 404:
                return f"the cluster does not know {names.PLURAL}.{names.GROUP}: apply the CRD (crds/ or the chart)"
            return f"the API server refuses: {error}"
        except UnreachableError as error:
            return f"the API server does not answer: {error}"
        known = any(resource.get("name") == names.PLURAL for resource in served.get("resources", []))
        return "" if known else f"{names.PLURAL}.{names.GROUP} is not served yet"


def _spare_the_collector() -> None:
    """Keep modules and models out of garbage collections: they are never garbage, and the jobs make many objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="paceline-operator", description="Runs TrainJobs on Kubernetes.")
    parser.add_argument("--config", type=Path, help="YAML file with the settings")
    parser.add_argument("--kubeconfig", type=Path, help="outside a cluster: this kubeconfig instead of KUBECONFIG")
    parser.add_argument("--context", help="context of the kubeconfig")
    parser.add_argument("--namespace", action="append", help="watch this namespace alone; may be given several times")
    parser.add_argument("--http-port", type=int, help="port of /metrics, /healthz and /readyz")
    parser.add_argument("--log-level", help="debug, info, warning or error")
    return parser.parse_args(argv)


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "namespaces": tuple(arguments.namespace) if arguments.namespace else None,
        "httpPort": arguments.http_port,
        "logLevel": arguments.log_level,
    }


if __name__ == "__main__":
    run()
