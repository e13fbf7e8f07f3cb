"""Where faults strike: the bed, a job in it, and the processes of its containers as this machine sees them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster import Bed, network
from e2e.jobs import Workspace

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Arena:
    """One job of one bed."""

    bed: Bed
    space: Workspace
    job: str

    def pod(self, index: int) -> Object:
        """A pod of the current attempt."""
        attempt = self.space.status(self.job).get("attempt", 0)
        (found,) = (
            pod
            for pod in self.space.pods(self.job, attempt)
            if pod["metadata"]["labels"]["paceline.dev/index"] == str(index)
        )
        return found

    def node(self, index: int) -> str:
        """The node of a pod of the current attempt."""
        name: str = self.pod(index)["spec"]["nodeName"]
        return name

    def address(self, index: int) -> str:
        """The IP of a pod of the current attempt."""
        address: str = self.pod(index)["status"]["podIP"]
        return address

    def worker(self, rank: int) -> int:
        """Process id of a training process, on this machine."""
        for pid, environment in self._processes():
            if environment.get("RANK") == str(rank) and self.is_worker(environment):
                return pid
        raise LookupError(f"no process of rank {rank} of {self.job} runs")

    def agent(self, index: int) -> int:
        """Process id of the agent of a pod: the first process of its container."""
        for pid, environment in self._processes():
            first = b"paceline.agent" in _read(pid, "cmdline") and not self.is_worker(environment)
            if first and environment.get("NODE_RANK") == str(index):
                return pid
        raise LookupError(f"no agent of pod {index} of {self.job} runs")

    def is_worker(self, environment: dict[str, str]) -> bool:
        """Whether that is the environment of a training process."""
        return "PACELINE_AGENT_SOCKET" in environment

    def operator(self) -> int:
        """Process id of the operator that leads."""
        for pid in self._pids():
            if b"paceline_operator" in _read(pid, "cmdline") or b"paceline-operator" in _read(pid, "cmdline"):
                return pid
        raise LookupError("no operator runs")

    def cut(self, one: str, other: str) -> None:
        """Drop every packet between two pods, both ways, until `mend`."""
        for source, target in ((one, other), (other, one)):
            network.inside(self.bed.addresses, "iptables", "-I", "FORWARD", "-s", source, "-d", target, "-j", "DROP")

    def mend(self, one: str, other: str) -> None:
        """Let packets through again."""
        for source, target in ((one, other), (other, one)):
            network.inside(self.bed.addresses, "iptables", "-D", "FORWARD", "-s", source, "-d", target, "-j", "DROP")

    def _processes(self) -> Iterator[tuple[int, dict[str, str]]]:
        for pid in self._pids():
            environment = _environment(pid)
            ours = environment.get("PACELINE_JOB") == self.job
            if ours and environment.get("PACELINE_NAMESPACE") == self.space.namespace:
                yield pid, environment

    def _pids(self) -> list[int]:
        return [pid for name in self.bed.node_names for pid in self.bed.container_pids(name)]


def _environment(pid: int) -> dict[str, str]:
    pairs = (item.partition("=") for item in _read(pid, "environ").decode(errors="replace").split("\0"))
    return {name: value for name, _, value in pairs}


def _read(pid: int, name: str) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def kill(pid: int, number: int) -> None:
    """Send a signal to a process that was just found."""
    os.kill(pid, number)
