"""`fit()` on a cluster: what rank 0 writes, what is new about the job, and the job as it ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from paceline.api import TrainJob
from paceline.client import follow, logtail
from paceline.client.cluster import Cluster
from paceline.client.errors import NotFoundError
from paceline.train import TrainingFailedError
from paceline.trainer import _console
from paceline.trainer.cluster import telling

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
    want = logtail.wanted(rank=rank, every=False, attempt=None, per_pod=per_pod)
    told = telling.Told(begun_at=time.monotonic())
    said: set[str] = set()
    try:
        for seen in follow.follow(cluster, name, want):
            match seen:
                case follow.Line():
                    if per_pod == 1 or logtail.of_rank(seen.text, rank):
                        (write or _to_stdout)(seen.text)
                case follow.Looked():
                    if seen.job.uid != job.uid:
                        raise _deleted(name)
                    job = seen.job
                    lines, told = telling.news(job, told, time.monotonic())
                    for line in lines:
                        say(name, line)
                case follow.Trouble(fatal=True) if seen.message not in said:
                    said.add(seen.message)
                    say(name, seen.message)
    except NotFoundError:
        raise _deleted(name) from None
    return job


def say(name: str, message: str) -> None:
    """Tell the user something about a job, beside what its workers write."""
    _console.Plain().say(f"{name}: {message}")


def _deleted(name: str) -> TrainingFailedError:
    return TrainingFailedError(
        f"TrainJob {name!r} was deleted before it was over; what it has stored is kept", reason=DELETED
    )


def _to_stdout(line: bytes) -> None:
    _console.Plain().show(1, line.decode(errors="replace") + "\n")
