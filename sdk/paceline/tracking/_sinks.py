"""How reports become entries of each tracker. Every sink works in the thread that has opened it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from paceline import _trackers
from paceline._metrics import flat
from paceline.tracking._comet import setup_comet
from paceline.tracking._mlflow import name_of, setup_mlflow
from paceline.tracking._wandb import setup_wandb

_METRICS_AT_ONCE = 1000  # more an MLflow server refuses


@dataclass(frozen=True, slots=True)
class Report:
    """One `report()`.

    Attributes:
        metrics: As they were reported.
        step: As the run counts.
        time: Seconds since the epoch.
    """

    metrics: Mapping[str, Any]
    step: int
    time: float


@dataclass(frozen=True, slots=True)
class Commit:
    """A checkpoint that has come to exist.

    Attributes:
        uri: Where it lies.
        step: Of its report.
    """

    uri: str
    step: int | None


Entry = Report | Commit


class Sink(Protocol):
    """One tracker's run."""

    def log(self, entries: Sequence[Entry]) -> None:
        """Log them in their order; all of them again, when this raises."""
        ...


class _Wandb:
    def __init__(self) -> None:
        self._run = setup_wandb()
        # An axis of our own: the library's steps only grow, and drop what a later attempt makes again.
        self._run.define_metric("*", step_metric="step")

    def log(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, Commit):
                self._run.summary.update({"paceline/checkpoint": entry.uri, "paceline/checkpoint_step": entry.step})
            else:
                self._run.log({**dict(flat(entry.metrics)), "step": entry.step})


class _MLflow:
    def __init__(self) -> None:
        mlflow = setup_mlflow()
        from mlflow.entities import Metric

        self._metric = Metric
        self._client = mlflow.MlflowClient()
        self._run_id = mlflow.active_run().info.run_id

    def log(self, entries: Sequence[Entry]) -> None:
        metrics = [
            self._metric(name_of(name), value, int(report.time * 1000), report.step)
            for report in entries
            if isinstance(report, Report)
            for name, value in numbers(report.metrics)
        ]
        for begin in range(0, len(metrics), _METRICS_AT_ONCE):
            self._client.log_batch(self._run_id, metrics=metrics[begin : begin + _METRICS_AT_ONCE])
        for entry in entries:
            if isinstance(entry, Commit):
                self._client.set_tag(self._run_id, "paceline.checkpoint", entry.uri)
                self._client.set_tag(self._run_id, "paceline.checkpoint_step", str(entry.step))


class _Comet:
    def __init__(self) -> None:
        self._experiment = setup_comet()

    def log(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, Commit):
                self._experiment.log_other("paceline/checkpoint", entry.uri)
                self._experiment.log_other("paceline/checkpoint_step", entry.step)
            else:
                self._experiment.log_metrics(dict(numbers(entry.metrics)), step=entry.step)


OPENERS: Mapping[str, Callable[[], Sink]] = {
    _trackers.WANDB: _Wandb,
    _trackers.MLFLOW: _MLflow,
    _trackers.COMET: _Comet,
}


def numbers(metrics: Mapping[str, Any]) -> list[tuple[str, float]]:
    """What a chart can show: numbers and bools, nested ones as `a/b`."""
    return [(name, _float(value)) for name, value in flat(metrics) if isinstance(value, int | float)]


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
