"""What the cluster shows of a job's pods, for tests: pod(3).running(), pod(0).failed(1, at=5)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from paceline_operator.policies.observed import Observed, PodSeen

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
"""When the pods of tests are created."""


def at(seconds: float) -> datetime:
    """Return T0 plus some seconds."""
    return T0 + timedelta(seconds=seconds)


class PodBuilder:
    """Begins as a pod that was just created."""

    def __init__(self, index: int, attempt: int, job: str) -> None:
        name = f"{job}-{attempt}-{index}"
        self._pod = PodSeen(name=name, uid=f"uid-{name}", attempt=attempt, index=index, created=T0)

    def obj(self) -> PodSeen:
        return self._pod

    def on(self, node: str) -> PodBuilder:
        return self.with_(node=node, placed=T0)

    def running(self, node: str = "node-1") -> PodBuilder:
        return self.with_(node=node, placed=T0, phase="Running", running=True)

    def succeeded(self, message: dict[str, Any] | None = None) -> PodBuilder:
        return self.with_(
            node="node-1", placed=T0, phase="Succeeded", running=False, exit_code=0,
            exit_message=json.dumps(message or {}),
        )  # fmt: skip

    def failed(
        self, exit_code: int, *, at: float | None = None, message: str = "", reason: str = "Error"
    ) -> PodBuilder:
        finished = None if at is None else T0 + timedelta(seconds=at)
        return self.with_(
            node="node-1", placed=T0, phase="Failed", running=False, exit_code=exit_code, exit_reason=reason,
            exit_message=message, finished=finished,
        )  # fmt: skip

    def waiting(self, reason: str, message: str = "", node: str = "node-1") -> PodBuilder:
        return self.with_(node=node, placed=T0, waiting_reason=reason, waiting_message=message)

    def unschedulable(self, message: str) -> PodBuilder:
        return self.with_(unschedulable=message)

    def deleting(self) -> PodBuilder:
        return self.with_(deleting=True)

    def with_(self, **fields: Any) -> PodBuilder:
        self._pod = replace(self._pod, **fields)
        return self


def pod(index: int, attempt: int = 0, job: str = "digits") -> PodBuilder:
    """Begin a pod."""
    return PodBuilder(index, attempt, job)


def seen(*pods: PodBuilder, **fields: Any) -> Observed:
    """Return a snapshot of these pods."""
    return Observed(pods=tuple(builder.obj() for builder in pods), **fields)


def all_running(count: int, attempt: int = 0) -> list[PodBuilder]:
    """Return the pods of a job that runs."""
    return [pod(index, attempt).running() for index in range(count)]


def termination(outcome: str = "failed", **fields: Any) -> str:
    """Return a termination message of the agent."""
    return json.dumps({"version": 1, "outcome": outcome, **fields})
