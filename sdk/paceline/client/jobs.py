"""A job as a model: read, followed through its changes, and where its files are."""

from __future__ import annotations

import time
from collections.abc import Iterator

from paceline.api import TrainJob
from paceline.client.cluster import Cluster
from paceline.client.connection import Object
from paceline.client.errors import ClientError, ClusterError, NotFoundError
from paceline.storage import join

# An API server that restarts is back within this; a cluster that is gone does not hold the user for longer.
UNREACHABLE_S = 60.0
PAUSE_S = 1.0
LOOK_S = 10.0


def parse(body: Object) -> TrainJob:
    """Read a job leniently: a newer operator's fields are left out.

    Raises:
        ClusterError: The object does not fit this version at all.
    """
    from pydantic import ValidationError

    try:
        return TrainJob.from_body(body)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise ClusterError(
            f"TrainJob {body['metadata']['name']} does not fit this version of paceline ({field}: {first['msg']}): "
            "use the version of the operator, or kubectl"
        ) from None


def changes(cluster: Cluster, job: TrainJob, timeout_s: float | None) -> Iterator[TrainJob]:
    """Yield the job now and after each change, until the time is over."""
    end = None if timeout_s is None else time.monotonic() + timeout_s
    lost_at: float | None = None
    version = job.metadata.resource_version
    yield job
    while (left := _left(end)) > 0:
        opened = time.monotonic()
        try:
            for event in cluster.watch(name=job.name, since=version, seconds=min(left, LOOK_S)):
                if event["type"] == "DELETED":
                    raise gone(job.name)
                yield parse(event["object"])
                if _left(end) <= 0:
                    return
            # A look between two watches: what a broken stream has not told is seen here.
            looked = parse(cluster.job(job.name))
            version, lost_at = looked.metadata.resource_version, None
            yield looked
            # A server that ends watches at once is not asked in a tight loop.
            time.sleep(max(0.0, PAUSE_S - (time.monotonic() - opened)))
        except ClientError as error:
            if not isinstance(error, ClusterError) or not error.retryable:
                raise
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > UNREACHABLE_S:
                raise
            time.sleep(PAUSE_S)


def _left(end: float | None) -> float:
    return LOOK_S if end is None else end - time.monotonic()


def gone(name: str) -> NotFoundError:
    """Return what is said when a job vanishes while it is watched."""
    return NotFoundError(f"TrainJob {name!r} was deleted")


def run_directory(job: TrainJob) -> str:
    """Return where the run's files are: as the status says, else as the spec will have it."""
    if job.status.result and job.status.result.path:
        return job.status.result.path
    path = job.spec.storage.path
    return "" if path is None else join(path, job.experiment_name)
