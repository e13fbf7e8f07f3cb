"""One simulated cluster with its operators and users: plays a history and tells what broke."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from paceline_operator.cluster.client import ApiError
from tests.simulation import faults
from tests.simulation.api import Api, Body, Event, group_of, owner, parse
from tests.simulation.bounds import SERVED_WITHIN_S, BrokenError
from tests.simulation.history import Fault, History, JobPlan
from tests.simulation.invariants import Invariants
from tests.simulation.loop import DeadlockError, VirtualLoop
from tests.simulation.machines import Node
from tests.simulation.network import Network
from tests.simulation.operators import Hooks, Process
from tests.simulation.outages import Machines
from tests.simulation.told import line, manifest
from tests.simulation.truth import JobTruth, Truth

if TYPE_CHECKING:
    from paceline.api import TrainJob
    from paceline_operator.planning import Note

LOOK_S = 2.5
"""Between two looks at what must hold within a time."""
ENDS_WITHIN_S = 2700.0
"""After the last fault all jobs are over."""
TIDIED_S = 60.0
SETTLED_S = 600.0
FRESH_S = 30.0


@dataclass(slots=True)
class Played:
    """What came of a history."""

    broken: str = ""
    """The invariant that broke; empty where all held."""
    at: float = 0.0
    """When, in seconds; or how long it took."""
    counts: Counter[str] = field(default_factory=Counter)
    writes: list[str] = field(default_factory=list)
    jobs: dict[str, Body] = field(default_factory=dict)
    """As they stand at the end."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """Events that were told: job and reason."""


def play(history: History, *, trace: Callable[[str], None] | None = None) -> Played:
    """Play a history to its end, or until something breaks."""
    # The operator's own jitter comes from the common generator.
    random.seed(history.seed)
    loop = VirtualLoop()
    level = logging.root.manager.disable
    if trace is None:
        logging.disable(logging.CRITICAL)
    world = World(loop, history, trace)
    try:
        loop.run_until_complete(world.run())
    except DeadlockError as error:
        world.break_(str(error))
    finally:
        logging.disable(level)
        world.stop()
        loop.close()
    jobs = dict(world.api.objects["trainjobs"])
    return Played(world.broken, loop.time(), world.truth.counts, world.network.writes, jobs, world.notes)


class World(Hooks):
    """Everything, on one clock."""

    def __init__(self, loop: VirtualLoop, history: History, trace: Callable[[str], None] | None) -> None:
        self.loop, self.history = loop, history
        self._trace = trace
        self.time = loop.time
        self.chance = random.Random(history.seed)
        self.api = Api(loop.time)
        self.truth = Truth(loop.time)
        self.network = Network(
            loop, self.api, self.chance, dict.fromkeys(("pods", "services", "trainjobs"), history.lag)
        )
        self.network.numbered = {fault.number: fault.kind for fault in history.writes}
        nodes = [
            Node(f"node-{n}", history.slots, self.chance.uniform(-history.skew, history.skew))
            for n in range(1, history.nodes + 1)
        ]
        self.kubelets = Machines(loop, self.api, self.chance, self.truth, nodes, gang=history.gang)
        if not history.gang:
            self.api.unserved.add("podgroups")
        self.invariants = Invariants(self)
        self.api.changed += [self._traced] * bool(trace) + [
            self._woken,
            self._told,
            self.kubelets.changed,
            self.invariants.changed,
        ]
        self.api.admit = self._admit
        self.network.struck = self._struck
        self.network.agents = self.kubelets.answer
        self.kubelets.crowded = self.invariants.runs
        self.plans = {plan.name: plan for plan in history.jobs}
        self.agents_answer = any(plan.reports for plan in history.jobs)
        self.processes: list[Process] = []
        self._standby: Process | None = None
        self.started = 0
        self.restart_s, self.stale_s = 1.0, 0.0
        self.quota_until = 0.0
        self.slow_until = 0.0
        """The operator has an excuse until then."""
        self.struck = 0
        """Writes that went wrong."""
        self.blind_until = 0.0
        """What came and went before this may never have been told: an operator listed the pods then."""
        self.served_again = False
        """PodGroups were not served, and are: that is asked for once a minute."""
        self.last_fault = 0.0
        self.broken = ""
        self.notes: list[tuple[str, str]] = []
        self._over: asyncio.Future[None] = loop.create_future()
        loop.set_exception_handler(self._raised)

    # --- the course of things -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Set the jobs and the faults up, and start an operator."""
        for plan in self.history.jobs:
            self.loop.call_later(plan.at, self.submit, plan)
            self.last_fault = max(self.last_fault, plan.at)
        for fault in self.history.faults:
            self.loop.call_later(fault.at, self._strike, fault)
            self.last_fault = max(self.last_fault, fault.at + fault.s)
        if self.history.standby:
            self._standby = self._process(standby=True)
        self.start_operator()

    async def run(self) -> None:
        """Play it to its end."""
        self.begin()
        course = self.loop.create_task(self._course())
        await asyncio.wait({course, self._over}, return_when=asyncio.FIRST_COMPLETED)
        course.cancel()
        await asyncio.gather(course, return_exceptions=True)

    async def _course(self) -> None:
        try:
            while not (self.time() > self.last_fault and self._all_over()):
                await asyncio.sleep(LOOK_S)
                self.invariants.look()
                if self.time() > self.last_fault + ENDS_WITHIN_S:
                    raise BrokenError(f"not over {ENDS_WITHIN_S:g} s after the last fault: {self._standing()}")
            tidied_s = SERVED_WITHIN_S if self.served_again else TIDIED_S
            await asyncio.sleep(tidied_s + max(0.0, self.slow_until - self.time()))
            self.invariants.tidy()
            await self._silent(SETTLED_S, "a settled system")
            self.invariants.forgotten()
            for process in list(self.processes):
                self.restart_s = 0.0
                process.kill()
            await self._silent(FRESH_S, "a fresh operator in a settled system")
        except BrokenError as error:
            self.break_(str(error))

    async def _silent(self, seconds: float, what: str) -> None:
        before, missed = len(self.network.writes), self.network.missed
        await asyncio.sleep(seconds)
        if len(self.network.writes) - self.network.missed > before - missed:
            raise BrokenError(f"{what} writes: {self.network.writes[before]}")

    def _all_over(self) -> bool:
        if self.plans.keys() and not self.truth.jobs:
            return False
        for name, job in self.api.objects["trainjobs"].items():
            if (job.get("status") or {}).get("phase") not in ("Succeeded", "Failed") or self.plans[name].ttl >= 0:
                return False
        return True

    def _standing(self) -> str:
        return ", ".join(
            f"{name} {(job.get('status') or {}).get('phase')} attempt {(job.get('status') or {}).get('attempt', 0)}"
            for name, job in self.api.objects["trainjobs"].items()
        )

    def stop(self) -> None:
        """End all that runs."""
        self._over.cancel()
        for process in [*self.processes, *filter(None, [self._standby])]:
            process.kill()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        # wait_for can lose a cancellation (python/cpython#86296): once more, and then whoever still waits is left.
        for _ in range(2):
            for task in tasks:
                task.cancel()
            with suppress(DeadlockError):
                self.loop.run_until_complete(_all(tasks))
                break

    # --- what is done ---------------------------------------------------------------------------------------

    def job(self, name: str) -> Body | None:
        """Return a job as it stands."""
        return self.api.get("trainjobs", name)

    def submit(self, plan: JobPlan) -> None:
        """A user creates a job, where there is none of that name."""
        if self.job(plan.name) is None:
            self.api.create("trainjobs", manifest(plan))

    def edit(self, name: str, **spec: Any) -> None:
        """A user changes fields of a spec."""
        job = self.api.objects["trainjobs"][name]
        generation = job["metadata"]["generation"] + 1
        self.api.change("trainjobs", name, metadata={"generation": generation}, spec={**job["spec"], **spec})

    def operators(self) -> list[Process]:
        """Return the operators that live, the one that stands by too."""
        return [process for process in (*self.processes, self._standby) if process is not None and not process.dead]

    def start_operator(self) -> None:
        """An operator begins to lead: the one that stands by, or a new one, stale lists and all."""
        if self._standby is None:
            self.processes.append(self._process())
            return
        self._standby.lead()
        self.processes.append(self._standby)
        self._standby = self._process(standby=True)

    def _process(self, *, standby: bool = False) -> Process:
        self.started += 1
        stale_s, self.stale_s = self.stale_s, 0.0
        return Process(self.network, self.started, self, stale_s=stale_s, standby=standby)

    def later(self, seconds: float, act: Callable[[World, Fault], None], fault: Fault) -> None:
        """Do something later."""
        self.last_fault = max(self.last_fault, self.time() + seconds)
        self.loop.call_later(seconds, act, self, fault)

    @property
    def excused(self) -> bool:
        """Whether the operator may be slow now."""
        return self.time() < self.slow_until

    def excuse(self, seconds: float) -> None:
        """For so long the operator may be slow."""
        self.slow_until = max(self.slow_until, self.time() + seconds)

    def break_(self, why: str) -> None:
        """An invariant broke; the first one counts."""
        if not self.broken:
            self.broken = why
            self.trace(f"BROKEN: {why}")
            if not self._over.done():
                self._over.set_result(None)

    def trace(self, line: str) -> None:
        """Tell a line of the story."""
        if self._trace is not None:
            self._trace(f"{self.time():8.2f}  {line}")

    def _strike(self, fault: Fault) -> None:
        kind = faults.KINDS[fault.kind]
        self.truth.counts[f"fault {fault.kind}" + (f" {fault.on}" if fault.kind == "arm" else "")] += 1
        self.trace(f"** {fault}")
        if kind.slow_s is not None:
            self.excuse(fault.s + kind.slow_s)
        kind.act(self, fault)

    # --- what is told ------------------------------------------------------------------------------------------

    def _woken(self, kind: str, event: Event, before: Body | None) -> None:
        for stream in self.network.streams:
            if stream.kind == kind:
                stream.wake()

    def _told(self, kind: str, event: Event, before: Body | None) -> None:
        uid = event.body["metadata"]["uid"]
        if kind == "trainjobs":
            if event.type == "ADDED":
                self.truth.jobs[uid] = JobTruth(uid, self.plans[event.body["metadata"]["name"]], self.time())
            elif event.type == "DELETED":
                self.truth.jobs[uid].deleted = self.time()
                self.loop.call_later(self.chance.uniform(0.1, 2.0), self._collect, uid)
        if kind == "podgroups" or (kind == "pods" and event.type == "DELETED"):
            name = event.body["metadata"]["name"] if kind == "podgroups" else group_of(event.body)
            self.loop.call_later(self.chance.uniform(0.05, 1.0), self._unprotect, name)
        if kind != "trainjobs" and event.type == "ADDED":
            job = self.truth.jobs.get(owner(event.body))
            if job is None or job.deleted is not None:
                self.loop.call_later(self.chance.uniform(0.5, 5.0), self._collect, owner(event.body))

    def _collect(self, owner_uid: str) -> None:
        """The garbage collector deletes what a deleted job owned."""
        for kind in ("pods", "services", "podgroups"):
            for name, body in list(self.api.objects[kind].items()):
                if owner(body) == owner_uid:
                    self.api.delete(kind, name)

    def _unprotect(self, name: str) -> None:
        """The controller of PodGroups lets one go that is deleted, once none of its pods is there."""
        group = self.api.get("podgroups", name)
        if group is None or "deletionTimestamp" not in group["metadata"]:
            return
        if not any(group_of(pod) == name for pod in self.api.of("pods")):
            self.api.remove("podgroups", name)

    def _admit(self, kind: str, body: Body) -> None:
        if kind != "pods":
            return
        if self.time() < self.quota_until:
            raise ApiError(403, "Forbidden", "exceeded quota: team, requested: pods=1, used: pods=9, limited: pods=9")
        if (plan := self.truth.plan(owner(body))) and plan.invalid:
            raise ApiError(422, "Invalid", "spec.containers[0].image: Required value")

    def _traced(self, kind: str, event: Event, before: Body | None) -> None:
        self.trace(line(kind, event))

    def _struck(self, kind: str) -> None:
        self.truth.counts[f"write {kind}"] += 1
        self.trace(f"** write {len(self.network.writes)} {self.network.writes[-1]}: {kind}")
        self.struck += kind != "crash"
        away_s = self.restart_s if kind == "crash" else 0.0
        # Each failure in a row doubles the wait of the work queue, which begins with 0.1 s.
        self.excuse(min(away_s + faults.STRUCK_S + 0.1 * 2**self.struck, faults.STRUCK_MAX_S))

    def _raised(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BrokenError):
            self.break_(str(error))
        elif not self._over.done():
            self.break_(f"the simulation itself failed: {context.get('message')}: {error!r}")

    # --- hooks of operators ---------------------------------------------------------------------------------------

    def died(self, process: Process) -> None:
        """Another one starts, unless one is there."""
        if process in self.processes:
            self.processes.remove(process)
        if not self.processes and not self.broken:
            self.loop.call_later(self.restart_s, self._replace)

    def _replace(self) -> None:
        if not self.processes:
            self.start_operator()

    def requested(self, process: Process, method: str, path: str, body: Body) -> None:
        """Check what an operator asks for."""
        self.trace(f"   operator {process.number}: {method} {path}")
        try:
            self.invariants.requested(method, *parse(path), body)
        except BrokenError as error:
            self.break_(str(error))

    def listed(self) -> None:
        """An operator lists the pods: of those that came and went since its watch ended it learns nothing."""
        self.blind_until = self.time()

    def told(self, job: TrainJob, note: Note) -> None:
        """Keep what is told."""
        self.notes.append((job.name, note.reason))
        self.truth.counts[f"event {note.reason}"] += 1
        self.trace(f"   event for {job.name}: {note.reason}: {note.message}")

    def failed(self, why: str) -> None:
        """An operator has a bug."""
        self.break_(why)


async def _all(tasks: set[asyncio.Task[None]]) -> None:
    """Wait until all have ended, of which there may be none."""
    await asyncio.gather(*tasks, return_exceptions=True)
