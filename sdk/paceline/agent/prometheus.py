"""`/metrics`: the agent's status as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from paceline.agent.web import Answer

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(status: Mapping[str, Any]) -> Answer:
    """The answer to `GET /metrics`; 501 where prometheus-client is not installed."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        return Answer(b"install prometheus-client for metrics: pip install paceline\n", 501, _CONTENT_TYPE)

    class _Collector:
        def collect(self) -> Iterator[GaugeMetricFamily]:
            yield from _families(status)

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
    yield from (steps, running)
    metrics = GaugeMetricFamily(
        "paceline_agent_metric", "Numbers of rank 0's newest report.", labels=[*labels, "metric"]
    )
    for name, value in (progress.get("metrics") or {}).items():
        if isinstance(value, int | float):
            metrics.add_metric([*job, str(name)], value)
    yield metrics


def _epoch(time: str | None) -> float | None:
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() if time else None
