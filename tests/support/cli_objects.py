"""Jobs, pods and events as the CLI sees them."""

from __future__ import annotations

from datetime import datetime, timezone
from io import StringIO
from typing import Any

from rich.console import Console, RenderableType

from paceline.api import TrainJob
from tests.support.trainjobs import make_trainjob

Object = dict[str, Any]
NOW = datetime(2026, 1, 2, 3, 10, 5, tzinfo=timezone.utc)
CHECKPOINT = {"path": "s3://b/runs/digits/checkpoint_000007", "index": 7, "step": 168, "time": "2026-01-02T03:08:05Z"}
ERROR = {"rank": 3, "type": "ValueError", "message": "loss is nan", "exitCode": 1, "traceback": "Traceback\n  line 3"}


def job_body(name: str = "digits", **status: Any) -> Object:
    """A job of 4 workers in 2 pods; keywords are fields of its status, as the API has them."""
    body = make_trainjob(name).workers(4).per_pod(2).storage("s3://b/runs").body()
    body["metadata"] |= {"uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-01-02T03:04:05Z"}
    return {**body, "status": status} if status else body


def job(name: str = "digits", **status: Any) -> TrainJob:
    """The same as a model."""
    return TrainJob.from_body(job_body(name, **status))


def condition(type: str, status: str, reason: str, message: str = "") -> Object:
    """A condition that has been so for a minute."""
    since = "2026-01-02T03:09:05Z"
    return {"type": type, "status": status, "reason": reason, "message": message, "lastTransitionTime": since}


def pod(attempt: int = 0, index: int = 0, *, state: Object | None = None, job: str = "digits", **status: Any) -> Object:
    """A pod; `state` is that of its worker container."""
    labels = {"paceline.dev/attempt": str(attempt), "paceline.dev/index": str(index)}
    containers = [] if state is None else [{"name": "worker", "state": state}]
    return {
        "metadata": {"name": f"{job}-{attempt}-{index}", "labels": labels},
        "spec": {"nodeName": f"node-{index}"},
        "status": {"phase": "Running", "containerStatuses": containers, **status},
    }


def event(reason: str, message: str, *, pod: str = "", job: str = "digits", **more: Any) -> Object:
    """An event of the job, or of a pod."""
    involved = {"kind": "Pod", "name": pod} if pod else {"kind": "TrainJob", "name": job, "uid": "u"}
    when = {"metadata": {"creationTimestamp": "2026-01-02T03:04:06Z"}}
    return {**when, "reason": reason, "message": message, "type": "Normal", "involvedObject": involved, **more}


def printed(renderable: RenderableType, width: int = 100) -> str:
    """What stands on a terminal of this width, without colours and trailing blanks."""
    out = StringIO()
    Console(file=out, width=width).print(renderable)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
