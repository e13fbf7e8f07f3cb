"""Machines that die, that nobody reaches, and that come back: what of it Kubernetes sees, and when."""

from __future__ import annotations

from paceline.api import reasons
from tests.simulation.kubelets import SILENCE_S, Group, Kubelets
from tests.simulation.machines import Node

NOT_READY_S = 50.0
"""After which Kubernetes taints a node that is silent."""
TOLERATED_S = 10.0
"""For which the pods of a job tolerate that."""


class Machines(Kubelets):
    """The kubelets, and the machines below them."""

    def lose(self, node: Node, *, power: bool) -> None:
        """A machine dies (`power`), or nobody reaches it any more."""
        if not node.reachable:
            return
        node.reachable = False
        node.up = not power
        for worker in list(node.workers.values()):
            if power and worker.state in ("bound", "running"):
                was_live = worker.live
                worker.still()
                worker.state = "dead"
                if was_live and (group := self._group(worker)):
                    self._silent(group, worker)
            elif worker.live and (group := self._group(worker)) and group.began is not None:
                self._loop.call_later(SILENCE_S, self._apart, group, node)

    def _apart(self, group: Group, node: Node) -> None:
        """The agents on both sides of a cut give each other up."""
        if node.reachable or group.told:
            return
        inside = [worker for worker in group.members.values() if worker.live and worker.node is node]
        outside = [worker for worker in group.members.values() if worker.live and worker.node is not node]
        if not inside or not outside:
            return
        group.told = True
        for side, others in ((inside, outside), (outside, inside)):
            index = min(worker.index for worker in others)
            reason = "LeadLost" if index == 0 else "AgentLost"
            self._truth.incident(side[0].job_uid, group.attempt, index, reasons.POD_UNREACHABLE)
            failure = {"rank": index * group.plan.per_pod, "exitCode": None, "reason": reason, "message": "no answer",
                       "time": self._node_time(side[0])}  # fmt: skip
            for worker in side:
                self._give_up(worker, failure)

    def taint(self, node: Node) -> None:
        """Kubernetes gives the node up; its pods are deleted when they no longer tolerate it."""
        if not node.reachable:
            node.tainted = True
            self._loop.call_later(TOLERATED_S, self._evict_from, node)

    def _evict_from(self, node: Node) -> None:
        if node.tainted:
            for worker in list(node.workers.values()):
                pod = self._pod(worker)
                if pod is not None and "deletionTimestamp" not in pod["metadata"]:
                    self.take(worker, "DeletionByTaintManager", reasons.NODE_LOST)

    def collect(self, node: Node) -> None:
        """The Node object is deleted: so are its pods, though nobody knows whether their processes live."""
        for worker in list(node.workers.values()):
            if (pod := self._pod(worker)) is not None:
                if pod["status"]["phase"] not in ("Succeeded", "Failed"):
                    self.take(worker, "DeletionByPodGC", reasons.NODE_LOST)
                if self._pod(worker) is not None:
                    self._api.remove("pods", worker.name)

    def back(self, node: Node) -> None:
        """The machine is there again: its kubelet tells and does what it could not."""
        node.up = node.reachable = True
        node.tainted = False
        for worker in [worker for worker in self.workers.values() if worker.node is node]:
            pod = self._pod(worker)
            if pod is None:
                self._end(worker)
                self._release(worker)
            elif "deletionTimestamp" in pod["metadata"]:
                self._loop.call_later(0.2, self._stopped, worker)
            elif worker.state == "dead":
                self._truth.incident(worker.job_uid, worker.attempt, worker.index, reasons.NODE_LOST)
                worker.state = "ended"
                self._exit(worker, 255, None, reason="Unknown")
            elif worker.unsent is not None:
                status, worker.unsent = worker.unsent, None
                self._tell(worker, status)
                if worker.state == "ended":
                    self._release(worker)
            elif worker.state == "bound":
                self._later(worker, 0.5, self._start)
        self.scheduler.wake()
