"""Operator processes: the real parts, wired as main.py wires them, on the virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from paceline_operator.cluster import workers
from paceline_operator.cluster.agents import AgentPoller
from paceline_operator.cluster.client import ApiError, UnreachableError
from paceline_operator.cluster.gate import Gate
from paceline_operator.cluster.informer import Informer, PodStore
from paceline_operator.cluster.memory import Jobs
from paceline_operator.cluster.podgroups import PodGroups
from paceline_operator.cluster.reconciler import Reconciler
from paceline_operator.cluster.recorder import Recorder
from paceline_operator.cluster.rollcall import RollCall
from paceline_operator.cluster.services import ServiceStore
from paceline_operator.cluster.workqueue import WorkQueue
from paceline_operator.main import CRD_RETRY_S, POD_GROUP_TRIES
from paceline_operator.policies.config import JobDefaults
from tests.simulation.history import NAMESPACE
from tests.simulation.network import Network, SimulatedClient
from tests.support.pods import T0

if TYPE_CHECKING:
    from paceline.api import TrainJob
    from paceline_operator.planning import Note

CONFIG = JobDefaults(agent_image="paceline/operator:sim")
POLL_S = 3.0
JOBS_PATH = "/apis/paceline.dev/v1alpha1/namespaces/ml/trainjobs"


class Process:
    """One operator. `kill` ends it as SIGKILL does: between two of its requests, or while one is under way."""

    def __init__(
        self, network: Network, number: int, hooks: Hooks, *, stale_s: float = 0.0, standby: bool = False
    ) -> None:
        loop = network.loop
        self.number = number
        self.dead = False
        self.stale_s = stale_s
        """Its first lists are as old as this."""
        self.writes_left = -1
        """How many more writes it gets before it dies; -1: no bound."""
        self._hooks = hooks
        self._client = SimulatedClient(network, self)
        self.queue = WorkQueue(loop.time)
        gate = Gate(clock=loop.time)
        self.pods = PodStore(lambda key, owner: self.queue.add(key))
        self.services = ServiceStore(self.queue.add)
        self.jobs = Jobs(self.pods, self.services, self.queue.add)

        def now() -> datetime:
            return T0 + timedelta(seconds=loop.time())

        self._recorder = ToldRecorder(self._client, f"sim-{number}", now, lambda: gate.busy, hooks.told)
        self.groups = PodGroups(self._client, (NAMESPACE,), gate, self.queue.add)
        self.reconciler = Reconciler(
            self._client, self.jobs, self._recorder, CONFIG, gate=gate, groups=self.groups, now=now
        )
        # There is one namespace.
        self._informers = [
            Informer(self._client, self.pods, "pods", NAMESPACE),
            Informer(self._client, self.services, "services", NAMESPACE),
        ]
        self._poller = Poller(self._client, self.jobs, self.pods, self.queue.add, poll_s=POLL_S)
        self._roll_call = RollCall(self._client, (NAMESPACE,), self.reconciler.remembered, self.reconciler.forget)
        self._leads = asyncio.Event()
        if not standby:
            self._leads.set()
        self._tasks = [loop.create_task(self._run())]

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks += [loop.create_task(informer.run()) for informer in self._informers]
        self._tasks += [loop.create_task(self._watch_jobs()), loop.create_task(self._roll_call.run())]
        for informer in self._informers:
            await informer.synced.wait()
        self.stale_s = 0.0
        await self._leads.wait()
        await self._look_for_groups()
        self._tasks.append(loop.create_task(self.groups.run()))
        if self._hooks.agents_answer:
            self._tasks.append(loop.create_task(self._poller.run()))
        self._tasks.append(loop.create_task(self._recorder.run()))
        await workers.run(self.queue, self.reconciler, observe=self._observe)

    async def _look_for_groups(self) -> None:
        # As main.py does.
        for _ in range(POD_GROUP_TRIES):
            try:
                await self.groups.look()
                break
            except (ApiError, UnreachableError):
                await asyncio.sleep(CRD_RETRY_S)

    def lead(self) -> None:
        """It has the lease from now on."""
        self._leads.set()

    def kill(self) -> None:
        """End it now."""
        if self.dead:
            return
        self.dead = True
        for task in self._tasks:
            task.cancel()
        self._hooks.died(self)

    def requested(self, method: str, path: str, body: dict[str, Any]) -> None:
        """Note a write that reaches the API server."""
        self._hooks.requested(self, method, path, body)

    def listed(self) -> None:
        """It lists the pods."""
        self._hooks.listed()

    def wrote(self) -> None:
        """A write was carried out."""
        if self.writes_left > 0:
            self.writes_left -= 1
            if self.writes_left == 0:
                self.kill()

    def _observe(self, outcome: str, seconds: float) -> None:
        if outcome == "error":
            self._hooks.failed("the operator raised what it does not expect (its log tells)")

    async def _watch_jobs(self) -> None:
        """As kopf does: a list whose objects have no type, then the watch; after any trouble all over again.

        What was deleted between a watch and the next list is never told.
        """
        while True:
            try:
                listed = msgspec.json.decode(await self._client.request("GET", JOBS_PATH))
                for body in listed["items"]:
                    self._feed(None, body)
                version = int(listed["metadata"]["resourceVersion"])
                async with self._client.watch("trainjobs", version) as stream:
                    async for event in stream.events():
                        if event is not None:
                            self._feed(event.type, event.body)
            except (ApiError, UnreachableError):  # noqa: PERF203
                # It ends at times, and is started again.
                await asyncio.sleep(self._client.chance.uniform(0.5, 5.0))

    def _feed(self, type: str | None, body: dict[str, Any]) -> None:
        # The same lines as in main.py.
        if type is None:
            self._roll_call.soon()
        if type == "DELETED":
            self.reconciler.gone(body)
        elif not self.reconciler.is_echo(type, body):
            self.queue.add(self.reconciler.take(body))


class Hooks:
    """What the world wants to know of its operators."""

    agents_answer = False

    def died(self, process: Process) -> None:
        """It was killed."""

    def requested(self, process: Process, method: str, path: str, body: dict[str, Any]) -> None:
        """A write of it reaches the API server."""

    def listed(self) -> None:
        """It lists the pods."""

    def told(self, job: TrainJob, note: Note) -> None:
        """It hands over an event."""

    def failed(self, why: str) -> None:
        """It has a bug."""


class ToldRecorder(Recorder):
    """The real one; what is told is told to us too."""

    def __init__(
        self,
        api: SimulatedClient,
        instance: str,
        now: Callable[[], datetime],
        busy: Callable[[], bool],
        told: Callable[[TrainJob, Note], None],
    ) -> None:
        super().__init__(api, instance, now, busy)
        self._told = told

    def post(self, job: TrainJob, note: Note) -> None:
        """Hand over a note."""
        self._told(job, note)
        super().post(job, note)


class Poller(AgentPoller):
    """The real one, without HTTP sessions and on the virtual clock."""

    async def run(self) -> None:
        """Poll until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._poll_s)
            for key, known, lead in self._to_ask(loop.time()):
                self._under_way.add(key)
                await self._ask(None, key, known, lead)  # type: ignore[arg-type]
