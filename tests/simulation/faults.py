"""What can happen at a time: one function for each kind of fault, and how long the operator may be slow after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paceline.api import reasons
from tests.simulation.history import Fault
from tests.simulation.machines import Node, Worker
from tests.simulation.outages import NOT_READY_S

if TYPE_CHECKING:
    from tests.simulation.world import World

STRUCK_S = 10.0
"""After a write that goes wrong: one that was refused is asked for again after 5 s."""
STRUCK_MAX_S = 65.0
"""The work queue waits up to a minute after many failures in a row."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault."""

    act: Callable[[World, Fault], None]
    slow_s: float | None = None
    """How long after its end the operator may be slow; None: it has no excuse."""


# --- users ------------------------------------------------------------------------------------------------


def suspend(world: World, fault: Fault) -> None:
    """The user suspends job `on`, for `s` seconds."""
    job = world.job(fault.on)
    if job is None or job["spec"].get("suspend"):
        return
    uid = job["metadata"]["uid"]
    world.truth.jobs[uid].suspended += 1
    world.edit(fault.on, suspend=True)
    world.later(fault.s or 5.0, resume, Fault(0, "resume", on=f"{fault.on}/{uid}"))


def resume(world: World, fault: Fault) -> None:
    """The user resumes job `on`."""
    name, _, uid = fault.on.partition("/")
    job = world.job(name)
    if job is not None and job["spec"].get("suspend") and uid in ("", job["metadata"]["uid"]):
        world.edit(name, suspend=False)


def delete(world: World, fault: Fault) -> None:
    """The user deletes job `on`; with `s`, makes it anew after so many seconds."""
    if world.job(fault.on) is not None:
        world.api.delete("trainjobs", fault.on)
        if fault.s > 0:
            world.later(fault.s, lambda world, fault: world.submit(world.plans[fault.on]), fault)


def unseen(world: World, fault: Fault) -> None:
    """The user deletes job `on` while no operator watches jobs; with `s`, makes it anew after so many seconds."""
    world.network.disturb("trainjobs", "broken")
    delete(world, fault)


def edit(world: World, fault: Fault) -> None:
    """The user allows job `on` `n` restarts more."""
    if (job := world.job(fault.on)) is not None:
        policy = job["spec"]["failurePolicy"]
        world.edit(fault.on, failurePolicy={**policy, "maxRestarts": policy["maxRestarts"] + fault.n})


def deadline(world: World, fault: Fault) -> None:
    """The user gives job `on` a deadline of `n` seconds."""
    if world.job(fault.on) is not None:
        world.edit(fault.on, activeDeadlineSeconds=fault.n)


def touch(world: World, fault: Fault) -> None:
    """Somebody changes an annotation of job `on`: its version moves."""
    if world.job(fault.on) is not None:
        world.api.change("trainjobs", fault.on, metadata={"annotations": {"touched": f"{world.time():g}"}})


def unpod(world: World, fault: Fault) -> None:
    """The user deletes pod `n` of the newest attempt of job `on`."""
    for worker in _members(world, fault):
        pod = world.api.get("pods", worker.name)
        if pod is not None and "deletionTimestamp" not in pod["metadata"]:
            world.truth.incident(worker.job_uid, worker.attempt, worker.index, reasons.POD_DELETED)
            world.api.delete("pods", worker.name)


def force(world: World, fault: Fault) -> None:
    """The user deletes pod `n` of job `on` by force: the object is gone at once."""
    for worker in _members(world, fault):
        if world.api.get("pods", worker.name) is not None:
            world.truth.incident(worker.job_uid, worker.attempt, worker.index, reasons.POD_DELETED)
            world.api.remove("pods", worker.name)


def unservice(world: World, fault: Fault) -> None:
    """Somebody deletes the Service of job `on`."""
    if world.api.get("services", fault.on) is not None:
        world.api.delete("services", fault.on)


# --- machines -----------------------------------------------------------------------------------------------


def evict(world: World, fault: Fault) -> None:
    """The kubelet evicts pod `n` of job `on`."""
    for worker in _members(world, fault):
        world.kubelets.evict(worker)


def preempt(world: World, fault: Fault) -> None:
    """A pod of higher priority takes `n` slots of node `on` for `s` seconds."""
    node = _node(world, fault.on)
    if not node.open or not node.reachable:
        return
    short = fault.n - node.free
    for worker in reversed(list(node.workers.values())):
        if short > 0 and not worker.stopping:
            short -= worker.need
            world.kubelets.take(worker, "PreemptionByScheduler", reasons.PREEMPTED)
    node.foreign += fault.n
    world.later(fault.s or 10.0, _left, fault)


def _left(world: World, fault: Fault) -> None:
    node = _node(world, fault.on)
    node.foreign = max(0, node.foreign - fault.n)
    world.kubelets.scheduler.wake()


def drain(world: World, fault: Fault) -> None:
    """Node `on` is drained, and open again after `s` seconds."""
    node = _node(world, fault.on)
    if not node.reachable:
        return
    node.cordoned = True
    for worker in list(node.workers.values()):
        pod = world.api.get("pods", worker.name)
        if pod is not None and "deletionTimestamp" not in pod["metadata"]:
            world.kubelets.take(worker, "EvictionByEvictionAPI", reasons.POD_EVICTED)
    world.later(fault.s or 10.0, _uncordon, fault)


def _uncordon(world: World, fault: Fault) -> None:
    _node(world, fault.on).cordoned = False
    world.kubelets.scheduler.wake()


def down(world: World, fault: Fault) -> None:
    """Node `on` loses its power for `s` seconds; with n=2 its Node object is deleted after 15 s."""
    _lose(world, fault, power=True)


def cut(world: World, fault: Fault) -> None:
    """Nobody reaches node `on` for `s` seconds; with n=2 its Node object is deleted after 15 s."""
    _lose(world, fault, power=False)


def _lose(world: World, fault: Fault, *, power: bool) -> None:
    node = _node(world, fault.on)
    if not node.reachable:
        return
    world.kubelets.lose(node, power=power)
    world.later(fault.s or 30.0, lambda world, fault: world.kubelets.back(_node(world, fault.on)), fault)
    if (fault.s or 30.0) > NOT_READY_S:
        world.later(NOT_READY_S, lambda world, fault: world.kubelets.taint(_node(world, fault.on)), fault)
    if fault.n == 2:
        world.later(15.0, _collect, fault)


def _collect(world: World, fault: Fault) -> None:
    node = _node(world, fault.on)
    if not node.reachable:
        node.tainted = True
        world.kubelets.collect(node)


def image(world: World, fault: Fault) -> None:
    """The image of job `on` cannot be pulled for `s` seconds."""
    world.kubelets.image_trouble[fault.on] = world.time() + fault.s


# --- the API server, the watches, the operator ------------------------------------------------------------------


def arm(world: World, fault: Fault) -> None:
    """The next `n` writes go wrong in the way that `on` names (as `write` does)."""
    world.network.armed.extend([(fault.on, fault.s)] * fault.n)


def quota(world: World, fault: Fault) -> None:
    """The namespace's quota refuses pods for `s` seconds."""
    world.quota_until = world.time() + fault.s


def gate(world: World, fault: Fault) -> None:
    """The API server serves PodGroups from now on; with n=2 it serves them no more, or again after `s` seconds."""
    world.served_again |= fault.n != 2 and "podgroups" in world.api.unserved
    (world.api.unserved.add if fault.n == 2 else world.api.unserved.discard)("podgroups")
    world.kubelets.scheduler.wake()
    if fault.n == 2 and fault.s:
        world.later(fault.s, gate, Fault(0, "gate"))


def slow(world: World, fault: Fault) -> None:
    """Each request takes up to `n` seconds, for `s` seconds."""
    world.network.slow_s, world.network.slow_until = float(fault.n), world.time() + fault.s


def outage(world: World, fault: Fault) -> None:
    """The API server does not answer for `s` seconds."""
    world.network.down_until = world.time() + fault.s
    # Waits between tries are doubled: the last one may be as long as the outage was.
    world.excuse(2 * fault.s + STRUCK_S)
    for kind in list(world.api.objects):
        world.network.disturb(kind, "broken")


def lag(world: World, fault: Fault) -> None:
    """The watch of kind `on` lags `n` seconds behind, for `s` seconds."""
    world.network.lag[fault.on] = float(fault.n)
    world.later(fault.s, lambda world, fault: world.network.lag.__setitem__(fault.on, world.history.lag), fault)


def broken(world: World, fault: Fault) -> None:
    """The watch of kind `on` breaks off."""
    world.network.disturb(fault.on, "broken")


def expired(world: World, fault: Fault) -> None:
    """The watch of kind `on` has expired: 410, and all is listed anew."""
    world.network.disturb(fault.on, "expired")


def again(world: World, fault: Fault) -> None:
    """The watch of kind `on` tells its last `n` events once more."""
    world.network.disturb(fault.on, "", again=fault.n)


def crash(world: World, fault: Fault) -> None:
    """The operator dies; the next one starts after `s` seconds, with lists `n - 1` seconds old."""
    world.restart_s, world.stale_s = fault.s or 1.0, float(fault.n - 1)
    for process in list(world.processes):
        process.kill()


def takeover(world: World, fault: Fault) -> None:
    """Another operator takes over; the old one gets `n` more writes, and `s` seconds at most."""
    old = list(world.processes)
    world.start_operator()
    for process in old:
        process.writes_left = fault.n
        world.loop.call_later(fault.s or 5.0, process.kill)


KINDS: dict[str, Kind] = {
    "suspend": Kind(suspend), "resume": Kind(resume), "delete": Kind(delete), "unseen": Kind(unseen, 10.0),
    "edit": Kind(edit),
    "deadline": Kind(deadline), "touch": Kind(touch), "unpod": Kind(unpod), "force": Kind(force),
    "unservice": Kind(unservice), "evict": Kind(evict), "preempt": Kind(preempt), "drain": Kind(drain),
    "down": Kind(down), "cut": Kind(cut), "image": Kind(image), "arm": Kind(arm),
    "quota": Kind(quota, 15.0), "gate": Kind(gate),
    "slow": Kind(slow, 30.0), "outage": Kind(outage),
    "lag": Kind(lag, 10.0),
    "broken": Kind(broken, 10.0), "expired": Kind(expired, 10.0), "again": Kind(again, 5.0),
    "crash": Kind(crash, 10.0), "takeover": Kind(takeover, 10.0),
}  # fmt: skip


def _node(world: World, name: str) -> Node:
    nodes = list(world.kubelets.nodes.values())
    return world.kubelets.nodes.get(name) or nodes[0]


def _members(world: World, fault: Fault) -> list[Worker]:
    """Pod `n` (counted modulo their number) of the newest attempt of the job, where it is there."""
    job = world.job(fault.on)
    if job is None:
        return []
    groups = [group for (uid, _), group in world.kubelets.groups.items() if uid == job["metadata"]["uid"]]
    if not groups:
        return []
    newest = max(groups, key=lambda group: group.attempt)
    worker = newest.members.get(fault.n % newest.plan.pods)
    return [worker] if worker is not None else []
