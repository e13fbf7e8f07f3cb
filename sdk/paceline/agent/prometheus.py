"""`/metrics`: the agent's status as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from paceline.agent import figures
from paceline.agent.web import Answer

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.metrics_core import Metric

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(status: Mapping[str, Any], pod: Mapping[str, float]) -> Answer:
    """The answer to `GET /metrics`; 501 where prometheus-client is not installed.

    Args:
        pod: Figures of this pod alone, so that a sum over all pods counts nothing twice.
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        return Answer(b"install prometheus-client for metrics: pip install paceline\n", 501, _CONTENT_TYPE)

    class _Collector:
        def collect(self) -> Iterator[Metric]:
            yield from _families(status)
            yield from _transfers(status, pod)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector())
    return Answer(generate_latest(registry), content_type=_CONTENT_TYPE)


def _families(status: Mapping[str, Any]) -> Iterator[GaugeMetricFamily]:
    from prometheus_client.core import GaugeMetricFamily

    job = [str(status["job"]), str(status["attempt"])]
    labels = ["job_name", "attempt"]

    def gauge(name: str, help_: str, value: Any) -> Iterator[GaugeMetricFamily]:
        if isinstance(value, int | float):
            family = GaugeMetricFamily(f"paceline_agent_{name}", help_, labels=labels)
            family.add_metric(job, value)
            yield family

    progress, checkpoint = status["progress"] or {}, status["checkpoint"] or {}
    yield from gauge("step", "Step of rank 0's newest report.", progress.get("step"))
    yield from gauge("last_report_timestamp_seconds", "When rank 0 last reported.", _epoch(progress.get("time")))
    yield from gauge("checkpoint_index", "Number of the latest committed checkpoint.", checkpoint.get("index"))
    yield from gauge("checkpoint_step", "Step of the latest committed checkpoint.", checkpoint.get("step"))
    yield from gauge(
        "checkpoint_timestamp_seconds", "When the latest checkpoint was committed.", _epoch(checkpoint.get("time"))
    )
    steps = GaugeMetricFamily(
        "paceline_agent_rank_step", "Step of each rank's newest report.", labels=[*labels, "rank"]
    )
    running = GaugeMetricFamily("paceline_agent_rank_running", "1 while the process runs.", labels=[*labels, "rank"])
    for rank in status["ranks"]:
        if rank["step"] is not None:
            steps.add_metric([*job, str(rank["rank"])], rank["step"])
        running.add_metric([*job, str(rank["rank"])], 1 if rank["state"] == "running" else 0)
    behind = GaugeMetricFamily(
        "paceline_straggler_seconds",
        "Seconds by which the rank that holds the others up reports after the median rank; absent while none does.",
        labels=[*labels, "rank"],
    )
    if straggler := status.get("straggler"):
        behind.add_metric([*job, str(straggler["rank"])], straggler["behindSeconds"])
    yield from (steps, running, behind)
    metrics = GaugeMetricFamily(
        "paceline_agent_metric", "Numbers of rank 0's newest report.", labels=[*labels, "metric"]
    )
    for name, value in (progress.get("metrics") or {}).items():
        if isinstance(value, int | float):
            metrics.add_metric([*job, str(name)], value)
    yield metrics


def _transfers(status: Mapping[str, Any], pod: Mapping[str, float]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    labels = ["job_name", "attempt", "node_rank"]
    values = [str(status["job"]), str(status["attempt"]), str(status["nodeRank"])]
    gauges = (
        (figures.PENDING_BYTES, "pending_bytes", "Bytes of checkpoints of this pod that wait for the store."),
        (figures.BYTES_PER_SECOND, "stored_bytes_per_second", "Speed of this pod's uploads in the last 10 s."),
    )
    counters = (
        (figures.WAIT_SECONDS, "report_wait_seconds", "Seconds that report() was held by checkpoints that wait."),
        (figures.STORED_BYTES, "stored_bytes", "Bytes of checkpoints that this pod has stored."),
        (figures.RETRIES, "storage_retries", "Uploads of checkpoints that were tried again."),
        (figures.ARTIFACTS_STORED, "artifacts_stored", "Artifact files stored."),
        (figures.ARTIFACTS_FAILED, "artifacts_failed", "Times that an artifact file could not be stored."),
    )
    for families, kind in ((gauges, GaugeMetricFamily), (counters, CounterMetricFamily)):
        for key, name, help_ in families:
            family = kind(f"paceline_agent_{name}", help_, labels=labels)
            family.add_metric(values, pod.get(key, 0))
            yield family
    pending = GaugeMetricFamily(
        "paceline_agent_pending_checkpoints", "Checkpoints that wait for the store.", labels=labels
    )
    pending.add_metric(values, (status.get("uploads") or {}).get("pendingCheckpoints", 0))
    yield pending


def _epoch(time: str | None) -> float | None:
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() if time else None
