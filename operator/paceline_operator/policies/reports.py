"""The agent's words: `/status` and the termination message as values. What is not understood is shown as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.types import AwareDatetime

from paceline.api import CheckpointStatus, Progress, TrackingRun, Uploads, reasons
from paceline.api.tracking import MAX_TRACKING
from paceline_operator import contract
from paceline_operator.policies.observed import AgentReport, Straggler, TrackingProblem, WorkerFailure

Model = TypeVar("Model", bound=BaseModel)
_TIME: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)


def read(text: str | bytes, *, attempt: int | None = None) -> AgentReport | None:
    """Read a status answer or a termination message; None where it is not the agent's JSON.

    Args:
        text: The JSON.
        attempt: Where given, a status of another attempt is not taken: an address can have passed to another pod.
    """
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict) or found.get("version") != 1:
        return None
    if attempt is not None and found.get("attempt") != attempt:
        return None
    resumed = found.get("resumedFrom")
    resumed = resumed if isinstance(resumed, dict) else {}
    return AgentReport(
        outcome=str(found.get("outcome") or found.get("state") or ""),
        exit_code=_int(found.get("exitCode")),
        progress=_model(Progress, found.get("progress")),
        checkpoint=_model(CheckpointStatus, found.get("checkpoint")),
        best_checkpoint=_model(CheckpointStatus, found.get("bestCheckpoint")),
        uploads=_model(Uploads, found.get("uploads")),
        resumed_index=_int(resumed.get("index")),
        resumed_step=_int(resumed.get("step")),
        failure=_failure(found.get("failure")),
        straggler=_straggler(found.get("straggler")),
        tracking=_tracking(found.get("tracking")),
        tracking_problem=_tracking_problem(found.get("trackingProblem")),
    )


def _failure(value: object) -> WorkerFailure | None:
    if not isinstance(value, Mapping) or not value:
        return None
    lines = value.get("lastLines")
    return WorkerFailure(
        rank=_int(value.get("rank")),
        exit_code=_int(value.get("exitCode")),
        type=_text(value.get("type")),
        message=_text(value.get("message")) or "",
        traceback=_text(value.get("traceback")),
        last_lines=tuple(str(line) for line in lines) if isinstance(lines, list) else (),
        reason=_text(value.get("reason")),
        at=time(value.get("time")),
    )


def _straggler(value: object) -> Straggler | None:
    if not isinstance(value, Mapping):
        return None
    rank, seconds = _int(value.get("rank")), value.get("behindSeconds")
    if rank is None or rank < 0 or isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return Straggler(rank, float(seconds))


def _tracking(value: object) -> tuple[TrackingRun, ...]:
    found = [_model(TrackingRun, item) for item in value] if isinstance(value, list) else []
    return tuple(run for run in found if run is not None)[-MAX_TRACKING:]


def _tracking_problem(value: object) -> TrackingProblem | None:
    if not isinstance(value, Mapping) or not value:
        return None
    lacks_key = value.get("reason") == contract.AGENT_MISSING_CREDENTIALS
    return TrackingProblem(
        kind=_text(value.get("kind")) or "tracking",
        # The agent has one more word, and a newer one may have others: users find two in the guide.
        reason=reasons.MISSING_CREDENTIALS if lacks_key else reasons.TRACKER_UNREACHABLE,
        message=_text(value.get("message")) or "no reason given",
    )


def time(value: object) -> datetime | None:
    """Read an RFC 3339 time; None for anything else."""
    try:
        return _TIME.validate_python(value) if isinstance(value, str) else None
    except ValidationError:
        return None


def _model(model: type[Model], value: Any) -> Model | None:
    if not isinstance(value, dict) or not value:
        return None
    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
