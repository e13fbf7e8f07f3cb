"""A plan on a cluster: its manifests, its start, and its end."""

from __future__ import annotations

import os
from dataclasses import replace

from paceline import _contract as c
from paceline.train import Checkpoint, Result
from paceline.train._callbacks import tracking
from paceline.train._configs import check_storage
from paceline.trainer import _task
from paceline.trainer._plan import Plan
from paceline.trainer.cluster import ending, following, manifest, submitting, taskplace
from paceline.trainer.cluster.handle import RunHandle, connected
from paceline.trainer.cluster.manifest import Order
from paceline.trainer.cluster.settings import Kubernetes


def run(plan: Plan, backend: Kubernetes, *, detach: bool) -> Result | RunHandle:
    """Start a run, and follow it to its end unless `detach`.

    Raises:
        TrainingFailedError: It failed.
        ValueError: It cannot be run there; nothing has been started.
        ClusterError: The cluster cannot be used.
    """
    order = order_of(plan)
    content = taskplace.files(plan.task, backend)
    place = taskplace.directory(order, backend, content)
    wanted = manifest.trainjob(order, backend, uploaded=place)
    cluster = connected(backend.kubeconfig, backend.context, backend.namespace)
    config_map = None if place else manifest.config_map(order, backend, content)
    submitting.check(cluster, wanted, config_map)
    if place is not None:
        taskplace.upload(place, content)
    job = submitting.submit(cluster, wanted, config_map)
    following.say(job.name, f"created in namespace {cluster.namespace}, {_size(order)}")
    handle = RunHandle(job.name, job.uid, cluster)
    if detach:
        return handle
    try:
        ended = following.to_the_end(cluster, job)
    except KeyboardInterrupt:
        following.say(job.name, _goes_on(handle))
        raise
    if ended.status.phase == "Failed":
        raise ending.failure(ended)
    following.say(job.name, "succeeded")
    found, note = ending.result(ended)
    if note:
        following.say(job.name, note)
    return found


def to_manifest(plan: Plan, backend: Kubernetes) -> str:
    """The ConfigMap and the TrainJob as YAML.

    Raises:
        ValueError: The run has no name, its task does not fit into a ConfigMap, or it cannot be run on a cluster.
    """
    import yaml

    if plan.run.name is None:
        raise ValueError(
            "to_manifest() of a run without a name would make another job each time: pass RunConfig(name=...)"
        )
    order = order_of(plan)
    content = taskplace.files(plan.task, backend)
    if not manifest.fits_config_map(content):
        raise ValueError(
            f"the task has {sum(map(len, content.values()))} bytes, and a manifest holds"
            f" {manifest.CONFIG_MAP_BYTES}: read data in the function, put modules into the image, or start the run by"
            " fit(), which brings a larger task by way of its storage"
        )
    objects = [manifest.config_map(order, backend, content), manifest.trainjob(order, backend)]
    return str(yaml.safe_dump_all(objects, sort_keys=False, width=120))


def order_of(plan: Plan) -> Order:
    """A plan in the words of a manifest; looks at PACELINE_STORAGE, and at the clock where the run has no name.

    Raises:
        ValueError: Storage or checkpoint is one that pods cannot reach.
    """
    run, scaling = plan.run, plan.scaling
    if run.storage_filesystem is not None:
        raise ValueError(
            f"RunConfig.storage_filesystem is a {type(run.storage_filesystem).__name__}: pods cannot be given an object"
            " of this process. Name the store by a URI in RunConfig.storage_path"
        )
    path = run.storage_path
    if path is None and (path := os.environ.get(c.STORAGE, "").strip() or None):
        check_storage(c.STORAGE, path)
    if path is not None and "://" not in path and not path.startswith("/"):
        raise ValueError(
            f"RunConfig.storage_path (or PACELINE_STORAGE) is {path!r}: on a cluster write a URI (s3://, gs://,"
            " hdfs://), or an absolute path on a volume that the pods mount"
        )
    # With a storage path, so that the home directory is not asked for.
    name = run.name or replace(run, storage_path=path or "/").resolve(prefix=plan.name_prefix).name
    return Order(
        run=name,
        framework=plan.framework.name,
        function=plan.function_name,
        python=_task.python_version(),
        num_workers=scaling.num_workers,
        cpus=scaling.cpus_per_worker,
        memory_bytes=scaling.memory_bytes_per_worker,
        gpus=scaling.gpus_per_worker,
        placement=scaling.placement_strategy,
        accelerator=scaling.accelerator_type,
        storage_path=path,
        resume_from=_resume_from(plan.resume_from),
        failures=run.failure_config,
        checkpoints=run.checkpoint_config,
        artifacts=run.sync_config,
        variables=plan.framework.variables(),
        tracking=tracking(tuple(run.callbacks)),
    )


def _resume_from(checkpoint: Checkpoint | None) -> str:
    if checkpoint is None:
        return ""
    location = checkpoint._location
    if location.given is not None and not location.is_local:
        raise ValueError(
            f"resume_from_checkpoint is {checkpoint!r}: pods cannot be given its filesystem object; name it by a URI"
        )
    return location.uri


def _size(order: Order) -> str:
    workers = "1 worker" if order.num_workers == 1 else f"{order.num_workers} workers"
    return f"{workers} of {order.function}"


def _goes_on(handle: RunHandle) -> str:
    name, namespace = handle.name, handle.namespace
    return (
        "no longer followed; the job goes on.\n"
        f"  its output:  paceline logs {name} -n {namespace} --follow\n"
        f"  its end:     RunHandle.find({name!r}, namespace={namespace!r}).result()\n"
        f"  to stop it:  paceline delete {name} -n {namespace}"
    )
