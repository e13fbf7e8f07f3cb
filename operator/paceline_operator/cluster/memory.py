"""What the operator remembers of each job between two looks. All of it can be lost: it is seen or learnt again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from paceline.api import TrainJob, WorkerCounts, reasons
from paceline.api.status import FINISHED
from paceline_operator.cluster.informer import PodStore
from paceline_operator.cluster.services import ServiceStore
from paceline_operator.policies import success
from paceline_operator.policies.observed import COMPLETE, AgentReport, Observed, PodSeen, Refusal

# Bookmarks bring the version of the pods forward every minute. Where it stays behind for longer, the two kinds are not
# counted together (a cluster may keep them in different stores), and the comparison means nothing.
BEHIND = timedelta(seconds=90)
# Of a Service that somebody took our label from no watch tells: it counts as there until the attempt is over.
NEVER_SHOWN = sys.maxsize


@dataclass(slots=True)
class Remembered:
    """One job, by uid: a job made anew under the same name starts with a new one."""

    job: TrainJob
    status: dict[str, Any]
    """The status as the API server holds it: what a patch is made against."""
    resource_version: int
    first_seen: datetime
    last_write: datetime | None = None
    """When this operator last wrote the status."""
    written_version: int = 0
    """Version of the job by that write."""
    changed_since: datetime | None = None
    """Since when the status on record is out of date."""
    waiting: tuple[str, WorkerCounts] | None = None
    """Phase and counts that wait to be written."""
    moved_at: datetime | None = None
    """Since when these have been the same."""
    complete_attempt: int = -1
    """All pods of this attempt were there at some time."""
    asked_attempt: int = -1
    """The pods of this attempt were asked for already, whatever came of it."""
    told_complete: tuple[int, datetime] | None = None
    """Since which version the status on record says so of the current attempt, and when that was read here."""
    service_made: str = ""
    """Uid of the Service that this operator made or found, until the watch shows it or has passed it."""
    service_version: int = 0
    """Version of that one."""
    service_gone: str = ""
    """Uid of the Service whose deletion was accepted."""
    tensorboard_made: bool = False
    tensorboard_again: datetime | None = None
    """Refused, it is tried again at this time."""
    tensorboard_refused: str = ""
    """Why, as the user was told."""
    created: dict[str, PodSeen] = field(default_factory=dict)
    """By uid: pods that this operator made and the informer has not shown yet."""
    deleting: set[str] = field(default_factory=set)
    """Uids of pods whose deletion was accepted."""
    last_words: dict[str, PodSeen] = field(default_factory=dict)
    """By uid: pods of the current attempt that are gone and told how they ended, or by whom they were taken. One that
    had succeeded has done its work; what else they told is the cause of the failure. And the lead of the attempt
    before, which knows what its end has cost."""
    refusals: dict[str, Refusal] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    looked: datetime | None = None
    """When the Events of a pod were last read for them."""
    report: AgentReport | None = None
    report_attempt: int = -1

    def leave_unwritten(self, waiting: tuple[str, WorkerCounts] | None, now: datetime) -> None:
        """Note that a status waits to be written, and since when; None: nothing waits."""
        if waiting != self.waiting:
            self.waiting, self.moved_at = waiting, now
        self.changed_since = None if waiting is None else self.changed_since or now

    @property
    def on_record(self) -> bool:
        """Whether an operator has written a status: what the schema fills in by itself does not count."""
        return "conditions" in self.status


class Jobs:
    """All TrainJobs by `namespace/name`."""

    def __init__(
        self,
        pods: PodStore,
        services: ServiceStore | None = None,
        again: Callable[[str], None] = lambda key: None,
    ) -> None:
        """`again` is told the key of each job to be looked at though nothing of it was shown."""
        self._pods = pods
        self._again = again
        self._services = ServiceStore(lambda key: None) if services is None else services
        pods.gone = self._pod_gone
        pods.listed = self._services.listed = self._look_for_made
        self._jobs: dict[str, Remembered] = {}

    def __iter__(self) -> Any:
        return iter(self._jobs.items())

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, key: str) -> Remembered | None:
        """Return what is known of a job."""
        return self._jobs.get(key)

    def put(self, body: dict[str, Any], now: datetime) -> Remembered:
        """Take over a body, unless a newer one is known already.

        Raises:
            pydantic.ValidationError: It does not fit the schema of this version.
        """
        job = TrainJob.from_body(body)
        key = f"{job.namespace}/{job.name}"
        version = int(job.metadata.resource_version or 0)
        known = self._jobs.get(key)
        if known is None or known.job.uid != job.uid:
            known = Remembered(job, body.get("status") or {}, version, now)
            known.told_complete = (version, now) if job.status.phase in COMPLETE else None
            self._jobs[key] = known
        elif version > known.resource_version:
            if job.status.attempt != known.job.status.attempt and known.service_version == NEVER_SHOWN:
                known.service_made = ""
            if job.status.phase not in COMPLETE:
                known.told_complete = None
            elif known.told_complete is None or job.status.attempt != known.job.status.attempt:
                known.told_complete = (version, now)
            known.job, known.status, known.resource_version = job, body.get("status") or {}, version
        return known

    def forget(self, key: str, uid: str | None = None) -> None:
        """Drop a job that is gone; with `uid`, only that very one."""
        known = self._jobs.get(key)
        if known is not None and (uid is None or known.job.uid == uid):
            del self._jobs[key]

    def observe(self, known: Remembered, now: datetime) -> Observed:
        """Return one snapshot: what the informer shows, and what this operator did that it does not show yet."""
        job, shown = known.job, self._pods.of(known.job.uid)
        shown_up_to = self._pods.version(job.namespace)
        for uid, made in list(known.created.items()):
            if uid in shown or shown_up_to >= made.resource_version:
                del known.created[uid]
        known.deleting &= {*shown, *known.created}
        attempt = job.status.attempt
        known.last_words = _of_attempt(known, attempt)
        gone = [replace(pod, deleting=True) for uid, pod in known.last_words.items() if uid not in shown]
        pods = tuple(_deleting(pod, known.deleting) for pod in (*shown.values(), *known.created.values(), *gone))
        if sum(pod.attempt == attempt for pod in pods) == job.spec.pods:
            known.complete_attempt = attempt
        behind = known.complete_attempt != attempt and _behind(known, shown_up_to, now)
        if job.status.phase in COMPLETE and not behind:
            pods = (*pods, *_proven(known, [pod for pod in pods if pod.attempt == attempt]))
        if known.report_attempt != attempt:
            known.report = None
        names = {pod.name for pod in pods} | {pod.group for pod in pods}
        known.warnings = {name: text for name, text in known.warnings.items() if name in names}
        return Observed(
            pods=pods,
            report=known.report,
            complete=known.complete_attempt == attempt,
            behind=behind,
            service=bool(self.service(known)),
            refusals=tuple(known.refusals.values()),
            warnings=known.warnings,
            looked=known.looked,
            tensorboard=known.tensorboard_made,
            tensorboard_again=known.tensorboard_again,
            last_write=known.last_write or (None if known.on_record else known.first_seen),
            changed_since=known.changed_since,
            waiting=known.waiting,
            moved_at=known.moved_at,
        )

    def service(self, known: Remembered) -> str:
        """Return the uid of a job's Service; empty where it has none, or only one whose deletion was accepted."""
        shown = self._services.of(known.job.uid) or ""
        if shown == known.service_gone:
            shown = ""
        if shown or self._services.version(known.job.namespace) >= known.service_version:
            known.service_made = ""
        return shown or known.service_made

    def _pod_gone(self, key: str, owner: str, last: PodSeen) -> None:
        known = self._jobs.get(key)
        told = last.over or last.exit_code is not None or last.disruption
        if told and known is not None and known.job.uid == owner and _still_matters(last, known.job.status.attempt):
            known.last_words[last.uid] = last

    def _look_for_made(self) -> None:
        """What was made since the last list, and deleted before this one, comes in no event."""
        for key, known in self._jobs.items():
            if known.created or known.service_made:
                self._again(key)

    def phases(self) -> dict[str, int]:
        """Count the jobs by phase."""
        counts: dict[str, int] = {}
        for known in self._jobs.values():
            counts[known.job.status.phase] = counts.get(known.job.status.phase, 0) + 1
        return counts

    def straggling(self) -> int:
        """Count the jobs of which a rank holds the others up."""
        known = (known.job.status.condition(reasons.STRAGGLING) for known in self._jobs.values())
        return sum(condition is not None and condition.status == "True" for condition in known)

    def running(self) -> list[tuple[str, Remembered]]:
        """Return the jobs whose agents may have something to tell."""
        return [item for item in self._jobs.items() if item[1].job.status.phase not in FINISHED]


def _behind(known: Remembered, shown_up_to: int, now: datetime) -> bool:
    """Whether the pods are shown as they were before the status on record was written."""
    if known.told_complete is None:
        return False
    version, since = known.told_complete
    return shown_up_to < version and now - since < BEHIND


def _proven(known: Remembered, current: list[PodSeen]) -> tuple[PodSeen, ...]:
    """Return pods that are gone, and that had succeeded by the count on record; keep that for as long as the attempt.

    The next worker that succeeds is in no count yet, and would make the record prove one less.
    """
    job = known.job
    recorded = job.status.workers.succeeded // job.spec.workers.per_pod
    gone = success.gone(current, job.name, job.status.attempt, pods=job.spec.pods, recorded=recorded)
    known.last_words.update({pod.name: pod for pod in gone})
    return gone


def _of_attempt(known: Remembered, attempt: int) -> dict[str, PodSeen]:
    if known.job.status.finished:
        return {}
    return {
        uid: pod for uid, pod in known.last_words.items() if pod.attempt <= attempt and _still_matters(pod, attempt)
    }


def _still_matters(pod: PodSeen, attempt: int) -> bool:
    return pod.attempt >= attempt - (pod.index == 0)


def _deleting(pod: PodSeen, deleting: set[str]) -> PodSeen:
    if pod.deleting or pod.uid not in deleting:
        return pod
    return replace(pod, deleting=True)
