"""The real planner, executor and caches against a cluster in memory, step by step, with faults between any two."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from paceline.api import TrainJob
from paceline_operator.cluster import pods as wire
from paceline_operator.cluster.client import ApiError, UnreachableError
from paceline_operator.cluster.informer import PodStore
from paceline_operator.cluster.memory import Jobs
from paceline_operator.cluster.reconciler import Reconciler
from paceline_operator.planning import Note
from paceline_operator.policies.config import JobDefaults
from tests.support.cluster import CrashError, FakeCluster, Session
from tests.support.trainjobs import TrainJobBuilder

KEY = "ml/digits"
MAX_TICKS = 400
SURVIVORS_GO_WITHIN = timedelta(seconds=10)


@dataclass
class Notes:
    """Events that were posted."""

    posted: list[Note] = field(default_factory=list)

    def post(self, job: TrainJob, note: Note) -> None:
        self.posted.append(note)


class Operator:
    """One process: begins with lists, then sees the watch from there on, `lag` changes behind."""

    def __init__(self, cluster: FakeCluster, notes: Notes, lag: Callable[[], int]) -> None:
        self._cluster = cluster
        self._lag = lag
        self.session: Session = cluster.session()
        self._pods = PodStore(lambda key, owner: None)
        self._jobs = Jobs(self._pods)
        self.reconciler = Reconciler(self.session, self._jobs, notes, JobDefaults(), now=lambda: cluster.now)
        self._pods.replace([_pod(body) for body in cluster.pods()], str(cluster.version))
        for (kind, _, _), body in list(cluster.objects.items()):
            if kind == "trainjobs":
                self.reconciler.take(json.loads(json.dumps(body)))
        self._seen = len(cluster.log)

    def catch_up(self, *, fully: bool = False) -> None:
        """Take over what the watches bring."""
        upto = len(self._cluster.log) - (0 if fully else self._lag())
        for kind, type, body in self._cluster.log[self._seen : max(self._seen, upto)]:
            if kind == "pods":
                pod = _pod(body)
                if type == "DELETED":
                    self._pods.remove(pod.metadata.uid, pod.metadata.resource_version)
                else:
                    self._pods.put(pod)
            elif kind == "trainjobs":
                if type == "DELETED":
                    self.reconciler.gone(body)
                else:
                    self.reconciler.take(json.loads(json.dumps(body)))
        self._seen = max(self._seen, upto)

    async def look(self) -> None:
        """Look at the job until it is left alone for now."""
        for _ in range(20):
            self.catch_up()
            again = await self.reconciler.reconcile(KEY)
            if again is None or again.total_seconds() > 0:
                return


def _pod(body: dict[str, Any]) -> wire.Pod:
    return wire.decode_pod(json.dumps(body))


def submit(cluster: FakeCluster, job: TrainJobBuilder) -> None:
    """Create the job as a user would, with the defaults of the schema."""
    body = job.obj().to_body()
    body["metadata"] |= {"uid": "uid-job", "generation": 1}
    cluster.put("trainjobs", body)


async def run(
    cluster: FakeCluster,
    *,
    seed: int = 0,
    max_lag: int = 0,
    each_tick: Callable[[FakeCluster, int], None] = lambda cluster, tick: None,
) -> Notes:
    """Run until the job is over and settled; operators that die are replaced. Returns the events.

    Raises:
        AssertionError: An invariant broke, or the job did not end, or the settled system still wrote.
    """
    chance = random.Random(seed)
    notes = Notes()

    def lag() -> int:
        return chance.randint(0, max_lag)

    cluster.checks.append(Invariants())
    operator = Operator(cluster, notes, lag)
    for tick in range(MAX_TICKS):
        each_tick(cluster, tick)
        try:
            await operator.look()
        except CrashError:
            await asyncio.sleep(0.001)
            operator = Operator(cluster, notes, lag)
        except (ApiError, UnreachableError):
            pass
        cluster.tick()
        if over(cluster):
            break
    assert over(cluster), f"not over after {MAX_TICKS} ticks: {cluster.job()['status']}"
    await settle(cluster, operator)
    return notes


async def settle(cluster: FakeCluster, operator: Operator) -> None:
    """A finished job is tidied up, and then nothing is written any more."""
    for _ in range(3):
        operator.catch_up(fully=True)
        try:
            await operator.look()
        except CrashError:
            operator = Operator(cluster, Notes(), lambda: 0)
        except (ApiError, UnreachableError):
            pass
        cluster.tick()
    before = len(cluster.writes)
    fresh = Operator(cluster, Notes(), lambda: 0)
    for settled in (operator, fresh):
        for _ in range(3):
            settled.catch_up(fully=True)
            await settled.look()
            cluster.tick(600)
    assert cluster.writes[before:] == [], "a settled system writes nothing"


def over(cluster: FakeCluster) -> bool:
    """Whether the job is finished."""
    return (cluster.job().get("status") or {}).get("phase") in ("Succeeded", "Failed")


class Invariants:
    """What must hold after every write and every tick, whatever goes wrong."""

    def __init__(self) -> None:
        self._final: tuple[str, str] | None = None
        self._attempt = 0
        self._outlived: dict[str, datetime] = {}

    def __call__(self, cluster: FakeCluster) -> None:
        job = cluster.job()
        status, spec = job.get("status") or {}, TrainJob.from_body(job).spec
        live = [pod["metadata"] for pod in cluster.pods()]
        places = [(m["labels"]["paceline.dev/attempt"], m["labels"]["paceline.dev/index"]) for m in live]
        assert len(places) == len(set(places)), f"two pods for one place: {sorted(places)}"
        restarts, allowed = status.get("restarts", 0), spec.failure_policy.max_restarts
        assert allowed < 0 or restarts <= allowed, f"{restarts} restarts of {allowed}"
        attempt = status.get("attempt", 0)
        assert attempt >= self._attempt, "an attempt came back"
        assert all(int(place[0]) <= attempt for place in places), "pods of an attempt that is not on record"
        self._survivors_go(cluster, attempt)
        self._attempt = attempt
        if self._final is not None:
            assert (status["phase"], status["completionTime"]) == self._final, "a finished job changed"
        elif status.get("phase") in ("Succeeded", "Failed"):
            self._final = (status["phase"], status["completionTime"])

    def _survivors_go(self, cluster: FakeCluster, attempt: int) -> None:
        going_on = {
            pod["metadata"]["uid"]
            for pod in cluster.pods()
            if int(pod["metadata"]["labels"]["paceline.dev/attempt"]) < attempt
            and pod["status"]["phase"] == "Running"
            and "deletionTimestamp" not in pod["metadata"]
        }
        self._outlived = {uid: self._outlived.get(uid, cluster.now) for uid in going_on}
        longest = max((cluster.now - since for since in self._outlived.values()), default=timedelta(0))
        assert longest <= SURVIVORS_GO_WITHIN, "pods of an attempt that is over hold their nodes"
