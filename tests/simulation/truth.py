"""What really happened: the book that the operator's words are compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.history import JobPlan


@dataclass(frozen=True, slots=True)
class Incident:
    """A sign of a failure that the cluster shows of a pod, and what it is rightly called."""

    cause: str
    index: int
    at: float


@dataclass(slots=True)
class JobTruth:
    """One job by uid."""

    uid: str
    plan: JobPlan
    created: float
    deleted: float | None = None
    incidents: dict[int, list[Incident]] = field(default_factory=dict)
    """By attempt."""
    ended_well: set[tuple[int, int]] = field(default_factory=set)
    """Attempt and index of the pods whose workers all ended well."""
    suspended: int = 0
    """How often a user asked for it."""
    limits: list[tuple[float, int]] = field(default_factory=list)
    """Deadlines that were in force: since when, seconds (0: none)."""


@dataclass(slots=True)
class Truth:
    """All jobs that ever were, and how often what happened."""

    time: Callable[[], float]
    jobs: dict[str, JobTruth] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def incident(self, job_uid: str, attempt: int, index: int, cause: str) -> None:
        """Note that the cluster shows a failure."""
        job = self.jobs.get(job_uid)
        if job is not None:
            job.incidents.setdefault(attempt, []).append(Incident(cause, index, self.time()))
            self.counts[f"incident {cause}"] += 1

    def plan(self, job_uid: str) -> JobPlan | None:
        """Return the plan of a job."""
        job = self.jobs.get(job_uid)
        return job.plan if job else None
