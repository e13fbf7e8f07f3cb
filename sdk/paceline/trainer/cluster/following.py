"""`fit()` on a cluster: what rank 0 writes, what is new about the job, and the job as it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paceline.api import TrainJob
from paceline.client import follow, logtail, text
from paceline.client.cluster import Cluster
from paceline.client.errors import NotFoundError
from paceline.train import TrainingFailedError
from paceline.trainer import _console
from paceline.trainer.cluster import telling

if TYPE_CHECKING:
    from rich.console import Group

    from paceline.trainer._live import Live

DELETED = "Deleted"


def to_the_end(
    cluster: Cluster, job: TrainJob, *, write: Callable[[bytes], None] | None = None, rank: int = 0
) -> TrainJob:
    """Follow a job until it is over; return it as it is then.

    Args:
        cluster: Where it is.
        job: The job.
        write: Takes each line of the worker; None: standard output.
        rank: Whose output is written.
    Raises:
        TrainingFailedError: It was deleted meanwhile.
        ClusterError: The cluster has been out of reach for a minute, or does not allow it.
    """
    name, per_pod = job.name, job.spec.workers.per_pod
    shown = _Shown(job)
    want = logtail.wanted(rank=rank, every=False, attempt=None, per_pod=per_pod)
    told = telling.Told(begun_at=time.monotonic())
    said: set[str] = set()
    try:
        for seen in follow.follow(cluster, name, want):
            match seen:
                case follow.Line():
                    if per_pod == 1 or logtail.of_rank(seen.text, rank):
                        (write or shown.write)(seen.text)
                case follow.Looked():
                    if seen.job.uid != job.uid:
                        raise _deleted(name)
                    shown.job = job = seen.job
                    lines, told = telling.news(job, told, time.monotonic(), steps=not shown.live)
                    for line in lines:
                        shown.say(line)
                case follow.Trouble(fatal=True) if seen.message not in said:
                    said.add(seen.message)
                    shown.say(seen.message)
    except NotFoundError:
        raise _deleted(name) from None
    finally:
        shown.close()
    return job


def say(name: str, message: str) -> None:
    """Tell the user something about a job, beside what its workers write."""
    _console.Plain().say(f"{name}: {message}")


def _deleted(name: str) -> TrainingFailedError:
    return TrainingFailedError(
        f"TrainJob {name!r} was deleted before it was over; what it has stored is kept", reason=DELETED
    )


class _Shown:
    """The job as it was seen last: in a terminal a table, above which all else scrolls; otherwise lines alone."""

    def __init__(self, job: TrainJob) -> None:
        self.job = job
        self.live = _console.in_terminal()
        self._console: Live | _console.Plain = _console.Plain()
        if self.live:
            from paceline.trainer._live import Live

            self._console = Live(lambda seconds: table(self.job, seconds))

    def say(self, message: str) -> None:
        self._console.say(f"{self.job.name}: {message}")

    def write(self, line: bytes) -> None:
        self._console.show(1, line.decode(errors="replace") + "\n")

    def close(self) -> None:
        self._console.close()


def table(job: TrainJob, seconds: float) -> Group:
    """The table of a job, as that of a run on this machine: what its status tells.

    Args:
        job: As it was seen last.
        seconds: Since `fit()` follows it.
    """
    from paceline.trainer import _live

    status = job.status
    told: dict[str, Any] = {"state": status.phase, "workers": text.workers(status.workers, job.spec.workers.count)}
    if status.progress is not None:
        told["progress"] = {"step": status.progress.step, "metrics": status.progress.metrics}
    if status.checkpoint is not None:
        told["checkpoint"] = {"path": status.checkpoint.path, "step": status.checkpoint.step}
    allowed = job.spec.failure_policy.max_restarts
    return _live.table(told, name=job.name, restarts=status.restarts, max_failures=allowed, seconds=seconds)
