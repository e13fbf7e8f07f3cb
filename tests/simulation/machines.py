"""Nodes, what runs on them, and the scheduler that fills them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.api import Api, Body, group_of, stamp


@dataclass(slots=True, eq=False)
class Node:
    """A machine with room for some workers."""

    name: str
    slots: int
    skew_s: float = 0.0
    up: bool = True
    reachable: bool = True
    """Its kubelet reaches the API server."""
    tainted: bool = False
    cordoned: bool = False
    foreign: int = 0
    """Slots that pods of others hold."""
    workers: dict[str, Worker] = field(default_factory=dict)
    """By uid."""

    @property
    def open(self) -> bool:
        """Whether the scheduler, with what it knows, puts pods here."""
        return not (self.tainted or self.cordoned)

    @property
    def free(self) -> int:
        """Slots that are free."""
        return self.slots - self.foreign - sum(worker.need for worker in self.workers.values())


@dataclass(slots=True, eq=False)
class Worker:
    """The processes of a pod, whatever the API server knows of them."""

    name: str
    uid: str
    job: str
    job_uid: str
    attempt: int
    index: int
    need: int
    avoids: frozenset[str] = frozenset()
    """Nodes that it takes only where no other has room."""
    group: str = ""
    """Its PodGroup."""
    node: Node | None = None
    state: str = "waiting"
    """waiting (for a node), bound, running, ended (by itself or stopped), dead (with its machine)."""
    stopping: bool = False
    placed_at: float | None = None
    ran_at: float | None = None
    unsent: Body | None = None
    """A status that the kubelet could not tell yet."""
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether its processes run."""
        return self.state == "running"

    def still(self) -> None:
        """Drop what was to happen to it."""
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()


def avoided(pod: Body) -> frozenset[str]:
    """Return the names of the nodes that a pod would rather not have: its preferred node affinity, NotIn."""
    affinity = pod["spec"].get("nodeAffinity") or {}
    return frozenset(
        name
        for term in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        for expression in term["preference"].get("matchFields") or ()
        if expression["operator"] == "NotIn" and expression["key"] == "metadata.name"
        for name in expression["values"]
    )


class Scheduler:
    """Gives pods their nodes, in the order of their creation."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        api: Api,
        nodes: list[Node],
        *,
        gang: Callable[[Worker], int],
        bound: Callable[[Worker], None],
    ) -> None:
        """`gang` tells how many pods have nodes at least when this one has; `bound` is told of each placement."""
        self._loop, self._api, self._nodes = loop, api, nodes
        self._gang, self._bound = gang, bound
        self._waiting: dict[str, Worker] = {}
        self._woken = False

    def add(self, worker: Worker) -> None:
        """Queue a pod."""
        self._waiting[worker.uid] = worker
        self.wake()

    def drop(self, worker: Worker) -> None:
        """The pod is gone."""
        self._waiting.pop(worker.uid, None)

    def wake(self) -> None:
        """Look again soon: a pod came, or room was made."""
        if not self._woken and self._waiting:
            self._woken = True
            self._loop.call_later(0.02, self._run)

    def _run(self) -> None:
        self._woken = False
        groups: dict[str, list[Worker]] = {}
        for worker in self._waiting.values():
            groups.setdefault(worker.group or worker.uid, []).append(worker)
        for group in groups.values():
            size = self._gang(group[0])
            if size == 1:
                for worker in group:
                    self._place([worker])
            elif len(group) + self._placed(group[0].group) >= size:
                self._place(group)

    def _placed(self, group: str) -> int:
        pods = self._api.objects["pods"].values()
        return sum(group_of(pod) == group and "nodeName" in pod["spec"] for pod in pods)

    def _place(self, group: list[Worker]) -> None:
        free = {node.name: node.free if node.open else 0 for node in self._nodes}
        chosen = []
        for worker in group:
            fits = [node for node in self._nodes if free[node.name] >= worker.need] or self._nodes
            node = max(fits, key=lambda node: (node.name not in worker.avoids, free[node.name]))
            if free[node.name] < worker.need:
                for waits in group:
                    self._refuse(waits)
                return
            free[node.name] -= worker.need
            chosen.append((worker, node))
        for worker, node in chosen:
            del self._waiting[worker.uid]
            node.workers[worker.uid] = worker
            worker.node, worker.state, worker.placed_at = node, "bound", self._loop.time()
            pod = self._api.objects["pods"][worker.name]
            conditions = [c for c in pod["status"].get("conditions", ()) if c["type"] != "PodScheduled"]
            placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(self._loop.time())}
            status = {**pod["status"], "conditions": [*conditions, placed]}
            self._api.change("pods", worker.name, spec={**pod["spec"], "nodeName": node.name}, status=status)
            self._bound(worker)

    def _refuse(self, worker: Worker) -> None:
        pod = self._api.objects["pods"][worker.name]
        if not pod["status"].get("conditions"):
            said = f"0/{len(self._nodes)} nodes are available: {len(self._nodes)} Insufficient nvidia.com/gpu."
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said,
                         "lastTransitionTime": stamp(self._loop.time())}  # fmt: skip
            self._api.change("pods", worker.name, status={**pod["status"], "conditions": [condition]})
