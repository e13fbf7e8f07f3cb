"""The faults, and what each must lead to."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from e2e.chaos.arena import Arena, kill

Account = Literal["restart", "preemption", "none"]
# Makes the kernel choose the training process when the container's memory is spent, then spends it on files in memory,
# which count for nobody.
FILL = """
import os, sys
rank, socket = b"RANK=" + sys.argv[1].encode(), b"PACELINE_AGENT_SOCKET="
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        env = open(f"/proc/{pid}/environ", "rb").read().split(b"\\0")
    except OSError:
        continue
    if rank in env and any(e.startswith(socket) for e in env):
        open(f"/proc/{pid}/oom_score_adj", "w").write("1000")
        break
with open("/dev/shm/fill", "wb", buffering=0) as file:
    while os.path.exists(f"/proc/{pid}"):
        file.write(bytes(4 << 20))
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble."""

    name: str
    strike: Callable[[Arena], Callable[[], None] | None]
    """Does it; returns what undoes it, where something has to."""
    causes: frozenset[str] = frozenset()
    """Of which one stands in the history; none: the job must not notice."""
    account: Account = "none"
    rank: int | None = None
    """The rank that the history names."""
    heal_after_s: float = 0.0
    """When it is undone."""
    detected_within_s: float = 5.0
    """From the fault until the next attempt is on record; to fill a memory takes seconds itself."""
    edits: Mapping[str, Any] = field(default_factory=dict)
    """Of the job's spec, as `e2e.jobs.digits` takes them."""
    torchrun: bool = False
    """Whether torchrun on plain Jobs is measured beside."""


def _signal_worker(rank: int, number: int) -> Callable[[Arena], None]:
    return lambda arena: kill(arena.worker(rank), number)


def _kill_agent(index: int) -> Callable[[Arena], None]:
    return lambda arena: kill(arena.agent(index), signal.SIGKILL)


def _delete_pod(arena: Arena) -> None:
    name = arena.pod(1)["metadata"]["name"]
    arena.space.kube.kubectl("delete", "pod", name, "-n", arena.space.namespace, "--wait=false")


def _fill_memory(arena: Arena) -> None:
    name = arena.pod(1)["metadata"]["name"]
    command = ("exec", name, "-n", arena.space.namespace, "-c", "worker", "--", "python3", "-c", FILL, "3")
    try:
        arena.space.kube.kubectl(*command)
    except RuntimeError:
        pass  # the container may end under it


def _drain(arena: Arena) -> Callable[[], None]:
    node = arena.node(1)
    arena.space.kube.kubectl("cordon", node)
    selector = f"--pod-selector=paceline.dev/job={arena.job}"
    arena.space.kube.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", selector)

    def heal() -> None:
        arena.space.kube.kubectl("uncordon", node)

    return heal


def _lose_node(containers: bool) -> Callable[[Arena], Callable[[], None]]:
    def strike(arena: Arena) -> Callable[[], None]:
        node = arena.node(1)
        arena.bed.kill_node(node, containers=containers)
        return lambda: arena.bed.start_node(node)

    return strike


def _cut_network(arena: Arena) -> Callable[[], None]:
    one, other = arena.address(0), arena.address(1)
    arena.cut(one, other)
    return lambda: arena.mend(one, other)


def _kill_of_bed(*names: str) -> Callable[[Arena], Callable[[], None]]:
    def strike(arena: Arena) -> Callable[[], None]:
        for name in names:
            arena.bed.process(name).kill()

        def heal() -> None:
            for name in names:
                arena.bed.process(name).restart()

        return heal

    return strike


def _scheduler_and_worker(arena: Arena) -> Callable[[], None]:
    heal = _kill_of_bed("kube-scheduler")(arena)
    kill(arena.worker(3), signal.SIGKILL)
    return heal


def _delete_service(arena: Arena) -> None:
    arena.space.kube.kubectl("delete", "service", arena.job, "-n", arena.space.namespace)


def _kill_operator(arena: Arena) -> None:
    kill(arena.operator(), signal.SIGKILL)


def _operator_and_worker(arena: Arena) -> None:
    _kill_operator(arena)
    time.sleep(0.2)
    kill(arena.worker(3), signal.SIGKILL)


NODE_GONE = frozenset({"PodUnreachable", "NodeLost"})
FAULTS = (
    Fault("kill -9 of a worker", _signal_worker(3, signal.SIGKILL), frozenset({"WorkerFailed"}), "restart", rank=3,
          torchrun=True),
    Fault("kill -9 of an agent", _kill_agent(1), frozenset({"WorkerFailed"}), "restart", rank=2),
    Fault("kill -9 of the lead agent", _kill_agent(0), frozenset({"WorkerFailed"}), "restart", rank=0),
    Fault("memory of a worker filled", _fill_memory, frozenset({"OOMKilled"}), "restart", rank=3,
          detected_within_s=20, edits={"workers__sharedMemory": "2Gi"}),
    # No limit is shorter than three times the longest silence before a report: here that before the first one.
    Fault("SIGSTOP of a worker", _signal_worker(3, signal.SIGSTOP), frozenset({"Stalled"}), "restart", rank=3,
          detected_within_s=90, edits={"failurePolicy__stallTimeoutSeconds": 15}, torchrun=True),
    Fault("pod deleted", _delete_pod, frozenset({"PodDeleted"}), "restart", rank=2, torchrun=True),
    Fault("node drained", _drain, frozenset({"PodEvicted"}), "preemption", rank=2, heal_after_s=20),
    Fault("node loses power", _lose_node(containers=True), NODE_GONE, "preemption", rank=2, heal_after_s=90,
          detected_within_s=30, torchrun=True),
    # Sooner than anybody calls it lost: only the words of its own containerd and kubelet tell what has happened.
    Fault("node restarts", _lose_node(containers=True), NODE_GONE, "preemption", rank=2, heal_after_s=3,
          detected_within_s=30),
    Fault("network between two pods cut", _cut_network, NODE_GONE, "preemption", heal_after_s=60, detected_within_s=40),
    Fault("Service deleted", _delete_service),
    # First, since the kubelet waits 10 s before it starts a container that dies twice within ten minutes.
    Fault("kill -9 of operator and worker", _operator_and_worker, frozenset({"WorkerFailed"}), "restart", rank=3,
          detected_within_s=60),
    Fault("kill -9 of the operator", _kill_operator),
    Fault("API server down for 10 s", _kill_of_bed("kube-apiserver"), heal_after_s=10),
    Fault("etcd down for 5 s", _kill_of_bed("etcd"), heal_after_s=5),
    Fault("scheduler down for 10 s, and a worker killed", _scheduler_and_worker, frozenset({"WorkerFailed"}), "restart",
          rank=3, heal_after_s=10),
    Fault("object store down for 10 s", _kill_of_bed("s3"), heal_after_s=10),
)  # fmt: skip
BY_NAME = {fault.name: fault for fault in FAULTS}
