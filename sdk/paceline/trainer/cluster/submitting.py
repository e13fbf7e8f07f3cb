"""A run is brought to the cluster: looked at by the API server first, then created."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from paceline.api import TrainJob
from paceline.client.cluster import Cluster
from paceline.client.errors import ClientError, ConflictError, NotFoundError, UsageError
from paceline.client.jobs import parse
from paceline.trainer.cluster.manifest import Object
from paceline.trainer.cluster.sentences import in_python


def check(cluster: Cluster, job: Object, config_map: Object | None) -> None:
    """Have the API server look at both; nothing is created.

    Raises:
        ValueError: It refuses one of them, or there is a job of this name.
        ClusterError: There is no cluster, it has no Paceline, or it does not allow this.
    """
    with _in_python(cluster, job):
        cluster.create(job, dry_run=True)
        if config_map is not None:
            # An older one of this name may still be there: its job has just been deleted.
            with suppress(ConflictError):
                cluster.create_config_map(config_map, dry_run=True)


def submit(cluster: Cluster, job: Object, config_map: Object | None) -> TrainJob:
    """Create the job, then its ConfigMap, which ends with it. Pods that come sooner wait for the ConfigMap.

    In this order the job's name decides which of two callers may start.

    Raises:
        ValueError, ClusterError: As `check` has it; nothing is left behind.
    """
    with _in_python(cluster, job):
        created = cluster.create(job)
        if config_map is not None:
            try:
                _give(cluster, config_map, created)
            except ClientError:
                with suppress(ClientError):
                    cluster.delete(job["metadata"]["name"])
                raise
    return parse(created)


def _give(cluster: Cluster, config_map: Object, job: Object) -> None:
    meta = job["metadata"]
    owner = {"apiVersion": job["apiVersion"], "kind": job["kind"], "name": meta["name"], "uid": meta["uid"]}
    owned = {**config_map, "metadata": {**config_map["metadata"], "ownerReferences": [owner]}}
    try:
        cluster.create_config_map(owned)
    except ConflictError:  # of a job that was deleted: what it owned goes a little later
        cluster.delete_config_map(config_map["metadata"]["name"])
        cluster.create_config_map(owned)


@contextmanager
def _in_python(cluster: Cluster, job: Object) -> Iterator[None]:
    name = job["metadata"]["name"]
    try:
        yield
    except ConflictError as error:
        raise ValueError(_taken(cluster, name) or in_python(str(error))) from None
    except UsageError as error:
        raise ValueError(in_python(str(error))) from None


def _taken(cluster: Cluster, name: str) -> str:
    try:
        phase = parse(cluster.job(name)).status.phase
    except NotFoundError:
        return ""
    where = f"namespace={cluster.namespace!r}"
    return (
        f"there is a TrainJob {name!r} in namespace {cluster.namespace!r} already ({phase}): use another"
        f" RunConfig.name, or go on with that one: RunHandle.find({name!r}, {where}). Its cancel() deletes it and"
        " leaves its storage as it is, and a run of the same name and storage path then goes on from its checkpoints"
    )
