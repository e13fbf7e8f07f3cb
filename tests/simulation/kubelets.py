"""Kubelets and agents: pods start, train together, fail together, are stopped, and lose their machines."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from paceline.api import reasons
from paceline_operator.cluster.client import ApiError
from tests.simulation.api import Api, Body, Event, group_of, owner, stamp
from tests.simulation.history import End, JobPlan
from tests.simulation.machines import Node, Scheduler, Worker, avoided
from tests.simulation.truth import Truth

SILENCE_S = 20.0
"""After which agents give a silent one up."""
LEAD_START_S = 1800.0
"""After which agents that never found their lead give up."""
STEPS_PER_S = 10
NEVER = 1_000_000
"""So many pods a group never has."""
CAUSES = {"fail": reasons.WORKER_FAILED, "oom": reasons.OOM_KILLED, "kill": reasons.OOM_KILLED,
          "stall": reasons.STALLED, "store": reasons.STORAGE_ERROR, "config": reasons.INVALID_CONFIG}  # fmt: skip
TOLD_AS = {"fail": "Error", "oom": "OOMKilled", "stall": "Stalled", "store": "StorageError", "config": "InvalidConfig"}
CODES = {"oom": 137, "kill": 137, "stall": 76, "store": 70, "config": 64}


@dataclass(slots=True, eq=False)
class Group:
    """The workers of one attempt, bound to each other by their agents."""

    plan: JobPlan
    attempt: int
    members: dict[int, Worker] = field(default_factory=dict)
    began: float | None = None
    told: bool = False
    """A failure was told: all end."""


class Kubelets:
    """All nodes and what runs on them."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, api: Api, chance: random.Random, truth: Truth, nodes: list[Node],
        *, gang: str,
    ) -> None:  # fmt: skip
        self._loop, self._api, self._chance, self._truth = loop, api, chance, truth
        self.nodes = {node.name: node for node in nodes}
        self.workers: dict[str, Worker] = {}
        """By uid of the pod, also those whose pod is gone from the API server, as long as their processes live."""
        self.groups: dict[tuple[str, int], Group] = {}
        self.image_trouble: dict[str, float] = {}
        """By job, until when its image cannot be pulled."""
        self.crowded: Callable[[Worker], None] = lambda worker: None
        """Told of each worker that begins to run."""

        def together(worker: Worker) -> int:
            if not worker.group or gang == "ignored" or "podgroups" in api.unserved:
                return 1
            group = api.get("podgroups", worker.group)
            return group["spec"]["schedulingPolicy"]["gang"]["minCount"] if group else NEVER

        self.scheduler = Scheduler(loop, api, nodes, gang=together, bound=self._bound)

    # --- what the API server tells -------------------------------------------------------------------

    def changed(self, kind: str, event: Event, before: Body | None) -> None:
        """Take note of a change."""
        if kind == "services" and event.type == "ADDED":
            self._loop.call_soon(self._service, owner(event.body))
        if kind != "pods":
            return
        uid = event.body["metadata"]["uid"]
        if event.type == "ADDED":
            self._added(event.body)
        elif event.type == "DELETED":
            self._removed(self.workers[uid])
        elif "deletionTimestamp" in event.body["metadata"] and (worker := self.workers.get(uid)):
            self._stop(worker)

    def _added(self, pod: Body) -> None:
        metadata = pod["metadata"]
        labels, job_uid = metadata["labels"], owner(pod)
        plan = self._truth.plan(job_uid)
        worker = Worker(
            metadata["name"], metadata["uid"], labels["paceline.dev/job"], job_uid,
            int(labels["paceline.dev/attempt"]), int(labels["paceline.dev/index"]), plan.per_pod if plan else 1,
            avoided(pod), group_of(pod),
        )  # fmt: skip
        self.workers[worker.uid] = worker
        if plan is not None:
            group = self.groups.setdefault((job_uid, worker.attempt), Group(plan, worker.attempt))
            again = worker.index in group.members
            group.members[worker.index] = worker
            if again and not any(member.live for member in group.members.values()):
                # Made again within its attempt, as all of them: nobody knew that they had been there.
                group.began, group.told = None, False
        self.scheduler.add(worker)

    def _removed(self, worker: Worker) -> None:
        self.scheduler.drop(worker)
        node = worker.node
        if node is not None and not node.reachable and worker.live:
            return  # Nobody can tell them: the processes go on until their node is back.
        self._end(worker)
        self._release(worker)

    def _release(self, worker: Worker) -> None:
        if worker.node is not None:
            worker.node.workers.pop(worker.uid, None)
            self.scheduler.wake()
        if worker.uid in self.workers and self._pod(worker) is None:
            del self.workers[worker.uid]

    def _end(self, worker: Worker) -> None:
        was = worker.state
        worker.still()
        worker.state = "ended"
        if was in ("running", "dead") and (group := self._group(worker)):
            self._silent(group, worker)

    # --- start ------------------------------------------------------------------------------------------

    def _bound(self, worker: Worker) -> None:
        self._later(worker, self._chance.uniform(0.2, 1.5), self._start)

    def _start(self, worker: Worker) -> None:
        node = worker.node
        if worker.state != "bound" or worker.stopping or node is None or not (node.up and node.reachable):
            return
        group = self._group(worker)
        end = group.plan.end(group.attempt) if group else End()
        if group is not None and end.kind == "stuck" and end.index % group.plan.pods == worker.index:
            return
        mends = self.image_trouble.get(worker.job, 0.0)
        if mends > self._loop.time():
            waiting = {"reason": "ErrImagePull", "message": "the registry does not answer"}
            self._tell(worker, {"phase": "Pending", "containerStatuses": _container(waiting=waiting)})
            self._later(worker, mends - self._loop.time() + 0.5, self._start)
            return
        worker.state, worker.ran_at = "running", self._loop.time()
        self.crowded(worker)
        self._tell(worker, {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": _container(running={})})
        if group is None:
            return
        if end.after < 0 and end.kind != "ok" and end.index % group.plan.pods == worker.index:
            self._later(worker, -end.after, lambda worker: self._fail(worker, end))
        if group.plan.pods > 1:
            self._later(worker, LEAD_START_S, self._never_met)
        self._begin(group)

    def _never_met(self, worker: Worker) -> None:
        group = self._group(worker)
        if group is not None and group.began is None and not group.told:
            self._truth.incident(worker.job_uid, worker.attempt, 0, reasons.POD_UNREACHABLE)
            self._told(group, {"rank": 0, "exitCode": None, "reason": "LeadLost", "message": "the lead was never found",
                               "time": self._node_time(worker)})  # fmt: skip

    def _service(self, job_uid: str) -> None:
        for (uid, _), group in list(self.groups.items()):
            if uid == job_uid:
                self._begin(group)

    def _begin(self, group: Group) -> None:
        """Once all run and find each other, they train."""
        members = group.members.values()
        if group.began is not None or len(members) < group.plan.pods or not all(m.live for m in members):
            return
        first = group.members[0]
        service = self._api.get("services", first.job)
        if group.plan.pods > 1 and (service is None or owner(service) != first.job_uid):
            return
        group.began = self._loop.time()
        end = group.plan.end(group.attempt)
        for worker in members:
            if end.kind == "ok":
                # The lead ends last: it waits for the others to have stored all.
                sooner = group.plan.spread * worker.index / group.plan.pods
                self._later(worker, max(0.1, group.plan.runs - sooner), self._succeed)
            elif end.kind != "hang" and end.after >= 0 and worker.index == end.index % group.plan.pods:
                self._later(worker, end.after, lambda worker: self._fail(worker, end))

    # --- ends -------------------------------------------------------------------------------------------

    def _succeed(self, worker: Worker) -> None:
        group = self._group(worker)
        if not worker.live or group is None:
            return
        if worker.index == 0 and any(member.live for member in group.members.values() if member is not worker):
            self._later(worker, 0.2, self._succeed)
            return
        missing = len(self._well(group)) < group.plan.pods - 1
        if worker.index == 0 and missing:
            return  # It waits for one that is gone, until it gives that one up.
        if worker.index and not group.members[0].live:
            return  # Nobody takes its last reports: it gives the lead up.
        worker.still()
        worker.state = "ended"
        job = self._truth.jobs.get(worker.job_uid)
        if job is not None:
            job.ended_well.add((worker.attempt, worker.index))
        self._exit(worker, 0, {"outcome": "succeeded", "exitCode": 0})

    def _well(self, group: Group) -> set[int]:
        """Return the indices of the other workers than the lead that ended well."""
        job = self._truth.jobs.get(group.members[0].job_uid)
        return {index for attempt, index in job.ended_well if attempt == group.attempt and index} if job else set()

    def _fail(self, worker: Worker, end: End) -> None:
        group = self._group(worker)
        if not worker.live or group is None or group.told:
            return
        code = CODES.get(end.kind, end.code)
        self._truth.incident(worker.job_uid, worker.attempt, worker.index, CAUSES[end.kind])
        if end.kind == "kill":
            worker.state = "ended"
            self._exit(worker, code, None, reason="OOMKilled")
            self._silent(group, worker)
            return
        rank = worker.index * group.plan.per_pod
        failure = {"rank": rank, "exitCode": code, "reason": TOLD_AS[end.kind], "message": f"{end.kind} of rank {rank}"}
        self._told(group, {**failure, "time": self._node_time(worker)}, first=worker)

    def _told(self, group: Group, failure: Body, first: Worker | None = None) -> None:
        """An agent told a failure: all of the group end with it."""
        group.told = True
        for worker in group.members.values():
            if worker.live:
                wait = 0.0 if worker is first else self._chance.uniform(0.01, 1.0)
                self._later(worker, wait, lambda worker: self._give_up(worker, failure))

    def _give_up(self, worker: Worker, failure: Body) -> None:
        if worker.live:
            worker.still()
            worker.state = "ended"
            code = failure["exitCode"] or 75
            self._exit(worker, code, {"outcome": "failed", "exitCode": code, "failure": failure})

    def _silent(self, group: Group, worker: Worker) -> None:
        """An agent is gone without a word: the others give up after a time."""
        if group.began is not None and not group.told:
            rank = worker.index * group.plan.per_pod
            self._loop.call_later(SILENCE_S, self._given_up, group, group.began, worker.index, rank)

    def _given_up(self, group: Group, began: float, index: int, rank: int) -> None:
        if group.began != began:
            return  # Those who waited for it are gone as well, and others run in their place.
        others = [worker for worker in group.members.values() if worker.live and worker.index != index]
        if group.told or not others:
            return
        reason = "LeadLost" if index == 0 else "AgentLost"
        self._truth.incident(others[0].job_uid, group.attempt, index, reasons.POD_UNREACHABLE)
        failure = {
            "rank": rank,
            "exitCode": None,
            "reason": reason,
            "message": f"no word from the agent of rank {rank}",
        }
        self._told(group, {**failure, "time": self._node_time(others[0])})

    def _stop(self, worker: Worker) -> None:
        """SIGTERM, and the grace in which the agent saves."""
        if worker.stopping:
            return
        worker.stopping = True
        if worker.node is None or not worker.node.reachable:
            return
        grace = self._chance.uniform(0.1, 4.0) if worker.live else 0.1
        self._loop.call_later(grace, self._stopped, worker)

    def _stopped(self, worker: Worker) -> None:
        if self._pod(worker) is None or worker.node is None or not worker.node.reachable:
            return
        if worker.live:
            self._end(worker)
            self._exit(worker, 143, {"outcome": "terminated", "exitCode": 143})
            self._loop.call_later(self._chance.uniform(0.02, 0.3), self._stopped, worker)
            return
        self._end(worker)
        self._api.remove("pods", worker.name)

    def evict(self, worker: Worker) -> None:
        """Kill it at once for want of memory or disk on its node, as the kubelet does."""
        if worker.state not in ("bound", "running") or worker.node is None or not worker.node.reachable:
            return
        self._truth.incident(worker.job_uid, worker.attempt, worker.index, reasons.POD_EVICTED)
        self._end(worker)
        self._tell(worker, {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory.",
                            "conditions": [_disrupted("TerminationByKubelet")]})  # fmt: skip
        self._release(worker)

    def take(self, worker: Worker, by: str, cause: str) -> None:
        """Delete its pod for a reason that stands in the condition DisruptionTarget."""
        pod = self._pod(worker)
        if pod is None or pod["status"]["phase"] in ("Succeeded", "Failed"):
            return
        self._truth.incident(worker.job_uid, worker.attempt, worker.index, cause)
        conditions = [*pod["status"].get("conditions", ()), _disrupted(by)]
        self._api.change("pods", worker.name, status={**pod["status"], "conditions": conditions})
        if self._pod(worker) is not None:
            self._api.delete("pods", worker.name)

    # --- words ------------------------------------------------------------------------------------------

    def answer(self, pod: str) -> bytes:
        """Answer the operator in the name of a lead's agent. Raises ApiError where none answers."""
        body = self._api.get("pods", pod)
        worker = self.workers.get(body["metadata"]["uid"]) if body else None
        group = self._group(worker) if worker else None
        if (
            worker is None
            or group is None
            or not worker.live
            or not group.plan.reports
            or not worker.node
            or not worker.node.reachable
        ):
            raise ApiError(503, "ServiceUnavailable", "no endpoint answers")
        return json.dumps(
            {"version": 1, "attempt": worker.attempt, "state": "running", **self._progress(group)}
        ).encode()

    def _progress(self, group: Group) -> Body:
        if group.began is None or not group.plan.reports:
            return {}
        steps = int((self._loop.time() - group.began) * STEPS_PER_S) + 100 * group.attempt
        told: Body = {"progress": {"step": steps, "metrics": {"loss": 0.5}}}
        if steps >= 20:
            index = steps // 20
            told["checkpoint"] = {"path": f"s3://b/p/checkpoint_{index:06}", "index": index, "step": index * 20}
        return told

    def _exit(self, worker: Worker, code: int, message: Body | None, *, reason: str = "") -> None:
        group = self._group(worker)
        progress = self._progress(group) if group and worker.index == 0 else {}
        ended = {
            "exitCode": code,
            "reason": reason or ("Completed" if code == 0 else "Error"),
            "finishedAt": self._node_time(worker),
            "message": json.dumps({"version": 1, **message, **progress}) if message else "",
        }
        phase = "Succeeded" if code == 0 else "Failed"
        self._tell(worker, {"phase": phase, "containerStatuses": _container(terminated=ended)})
        if worker.node is not None and worker.node.reachable:
            worker.node.workers.pop(worker.uid, None)
            self.scheduler.wake()

    def _tell(self, worker: Worker, status: Body) -> None:
        pod = self._pod(worker)
        if pod is None:
            return
        if worker.node is not None and not worker.node.reachable:
            worker.unsent = {**(worker.unsent or {}), **status}
            return
        conditions = [*pod["status"].get("conditions", ()), *status.get("conditions", ())]
        self._api.change("pods", worker.name, status={**pod["status"], **status, "conditions": conditions})

    def _pod(self, worker: Worker) -> Body | None:
        pod = self._api.objects["pods"].get(worker.name)
        return pod if pod is not None and pod["metadata"]["uid"] == worker.uid else None

    def _group(self, worker: Worker) -> Group | None:
        group = self.groups.get((worker.job_uid, worker.attempt))
        return group if group is not None and group.members.get(worker.index) is worker else None

    def _node_time(self, worker: Worker) -> str:
        return stamp(self._loop.time() + (worker.node.skew_s if worker.node else 0.0))

    def _later(self, worker: Worker, seconds: float, act: Callable[[Worker], None]) -> None:
        worker.timers.append(self._loop.call_later(seconds, act, worker))


def _container(**state: Body) -> list[Body]:
    return [{"name": "worker", "state": state}]


def _disrupted(reason: str) -> Body:
    return {"type": "DisruptionTarget", "status": "True", "reason": reason}
