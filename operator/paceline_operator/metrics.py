"""What the operator counts of itself, at /metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from paceline.policy.restart import Account

PHASES: tuple[str, ...] = (
    "Pending", "Suspended", "Scheduling", "Starting", "Running", "Restarting", "Succeeded", "Failed",
)  # fmt: skip
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Metrics:
    """All metrics of one operator, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._reconciles = Histogram(
            "paceline_reconcile_seconds", "Time of one look at a job.", ["outcome"], buckets=_BUCKETS,
            registry=self.registry,
        )  # fmt: skip
        self._requests = Counter(
            "paceline_api_requests", "Requests to the API server; code 0: no answer.", ["verb", "code"],
            registry=self.registry,
        )  # fmt: skip
        self._request_seconds = Histogram(
            "paceline_api_request_seconds", "Time of a request to the API server.", ["verb"], buckets=_BUCKETS,
            registry=self.registry,
        )  # fmt: skip
        restarts = Counter(
            "paceline_restarts", "Restarts of a whole group, by what they were counted as.", ["account"],
            registry=self.registry,
        )  # fmt: skip
        self._done = {
            "pods": Counter("paceline_pods_created", "Pods created.", registry=self.registry),
            **{account: restarts.labels(account) for account in get_args(Account)},
        }
        self._leader = Gauge("paceline_leader", "1 while this replica works.", registry=self.registry)

    def watch(
        self,
        depth: Callable[[], int],
        pods: Callable[[], int],
        phases: Callable[[], Mapping[str, int]],
        straggling: Callable[[], int],
    ) -> None:
        """Tell what is read when somebody asks: queue depth, pods known, jobs by phase, jobs with a straggler."""
        self.registry.register(_Live(depth, pods, phases, straggling))

    def reconciled(self, outcome: str, seconds: float) -> None:
        """Count one look at a job."""
        self._reconciles.labels(outcome).observe(seconds)

    def requested(self, verb: str, code: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(verb, str(code)).inc()
        self._request_seconds.labels(verb).observe(seconds)

    def counted(self, what: str, count: int) -> None:
        """Count `pods` created, or restarts by their account."""
        self._done[what].inc(count)

    def leading(self, is_leader: bool) -> None:
        """Note whether this replica works."""
        self._leader.set(int(is_leader))

    def text(self) -> bytes:
        """Return all of it in the text format."""
        return generate_latest(self.registry)


class _Live(Collector):
    def __init__(
        self,
        depth: Callable[[], int],
        pods: Callable[[], int],
        phases: Callable[[], Mapping[str, int]],
        straggling: Callable[[], int],
    ) -> None:
        self._depth, self._pods, self._phases, self._straggling = depth, pods, phases, straggling

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Read the values now."""
        yield GaugeMetricFamily("paceline_queue_depth", "Jobs that wait for a look.", value=self._depth())
        yield GaugeMetricFamily("paceline_pods_known", "Pods of jobs in the cache.", value=self._pods())
        yield GaugeMetricFamily(
            "paceline_jobs_straggling", "Jobs of which one rank holds the others up.", value=self._straggling()
        )
        jobs = GaugeMetricFamily("paceline_jobs", "TrainJobs by phase.", labels=["phase"])
        counts = self._phases()
        for phase in PHASES:
            jobs.add_metric([phase], counts.get(phase, 0))
        yield jobs
