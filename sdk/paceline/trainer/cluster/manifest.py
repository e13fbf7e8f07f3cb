"""The ConfigMap and the TrainJob of a run. Pure: the same order gives the same manifests."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from paceline.api import names
from paceline.api.problems import below
from paceline.client import checks
from paceline.storage import join
from paceline.train import CheckpointConfig, FailureConfig, SyncConfig
from paceline.trainer.cluster import amounts
from paceline.trainer.cluster.naming import directory_name, job_name, task_name
from paceline.trainer.cluster.sentences import in_python

if TYPE_CHECKING:
    from paceline.trainer.cluster.settings import Kubernetes

Object = dict[str, Any]
TASK_DIRECTORY = "/opt/paceline-task"
TASK_FILE = "task"
TASK_VOLUME = "paceline-task"
# A ConfigMap holds 1 MiB of data; its names and labels are not counted, and a little room costs nothing.
CONFIG_MAP_BYTES = (1 << 20) - (4 << 10)
MODULE = "paceline.trainer.worker"
ANNOTATION_FUNCTION = f"{names.GROUP}/function"
ANNOTATION_PYTHON = f"{names.GROUP}/python"


@dataclass(frozen=True, slots=True)
class Order:
    """A run, as everything but the cluster's own settings has it.

    Attributes:
        run: Its name.
        framework: `torch`, `tensorflow` or `none`.
        function: Where the training function comes from, such as `train.py:train_fn`.
        python: Minor version of the Python that made the task, such as `3.11`.
        num_workers, placement, accelerator: As in ScalingConfig.
        cpus, memory_bytes, gpus: Of each worker.
        storage_path: A URI, or a path on a volume. None: the operator's default.
        resume_from: URI or path of a checkpoint for the first attempt; empty: the latest of the run.
        variables: What the framework has every worker see.
        tracking: The run's callbacks as `spec.tracking`.
    """

    run: str
    framework: str = "none"
    function: str = ""
    python: str = ""
    num_workers: int = 1
    cpus: float | None = None
    memory_bytes: int | None = None
    gpus: int = 0
    placement: str = "PACK"
    accelerator: str | None = None
    storage_path: str | None = None
    resume_from: str = ""
    failures: FailureConfig = field(default_factory=FailureConfig)
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)
    artifacts: SyncConfig = field(default_factory=SyncConfig)
    variables: Mapping[str, str] = field(default_factory=dict)
    tracking: Mapping[str, Any] = field(default_factory=dict)


def trainjob(order: Order, backend: Kubernetes, *, uploaded: str | None = None) -> Object:
    """The TrainJob of a run.

    Args:
        uploaded: Directory of the task's files in storage; None: they are in the ConfigMap.
    Raises:
        ValueError: Something cannot be; the message names the argument, the value and the way out.
    """
    _refuse_own_checkpoint(order, backend)
    if order.num_workers % backend.per_pod:
        raise ValueError(
            f"ScalingConfig.num_workers is {order.num_workers}, and Kubernetes.per_pod is {backend.per_pod}: as many"
            f" workers cannot be shared out to whole pods; make num_workers a multiple of {backend.per_pod}"
        )
    spec: Object = {
        "framework": order.framework,
        "image": backend.image,
        "command": ["python3", "-m", MODULE, join(uploaded or TASK_DIRECTORY, TASK_FILE)],
        **own_fields(backend),
        "storage": _storage(order, backend),
        "failurePolicy": {"maxRestarts": order.failures.max_failures},
    }
    if added := {name: value for name, value in order.variables.items() if name not in backend.env}:
        spec["env"] = [*(_variable(name, value) for name, value in added.items()), *spec.get("env", ())]
    spec["workers"] = {
        "count": order.num_workers,
        **spec.get("workers", {}),
        "placement": amounts.placement(order.placement),
    }
    if asked := amounts.resources(cpus=order.cpus, memory_bytes=order.memory_bytes, gpus=order.gpus):
        spec["workers"]["resources"] = asked
    if order.accelerator is not None:
        spec["workers"]["accelerator"] = order.accelerator
    if kept := _checkpoints(order):
        spec["checkpoints"] = kept
    if order.artifacts.sync_artifacts:
        spec["artifacts"] = _artifacts(order.artifacts)
    if order.tracking:
        spec["tracking"] = dict(order.tracking)
    if uploaded is None:
        spec["podTemplate"] = _mounted(spec.get("podTemplate", {}), task_name(job_name(order.run)))
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": _metadata(order, backend),
        "spec": checked(_over(spec, backend.spec)),
    }


def config_map(order: Order, backend: Kubernetes, files: Mapping[str, bytes]) -> Object:
    """The ConfigMap that holds the task; the TrainJob becomes its owner when it is there."""
    job = job_name(order.run)
    where = {"namespace": backend.namespace} if backend.namespace else {}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": task_name(job), **where, "labels": {names.LABEL_JOB: job}},
        "immutable": True,
        "binaryData": {name: base64.b64encode(data).decode() for name, data in sorted(files.items())},
    }


def fits_config_map(files: Mapping[str, bytes]) -> bool:
    """Whether the API server takes these files in one ConfigMap."""
    return sum(map(len, files.values())) <= CONFIG_MAP_BYTES


def own_fields(backend: Kubernetes) -> Object:
    """What of a spec comes from `Kubernetes(...)` alone."""
    spec: Object = {"workers": {"perPod": backend.per_pod}} if backend.per_pod != 1 else {}
    if backend.gpu_resource != "nvidia.com/gpu":
        spec.setdefault("workers", {})["gpuResource"] = backend.gpu_resource
    if backend.shared_memory is not None:
        spec.setdefault("workers", {})["sharedMemory"] = backend.shared_memory
    if backend.env:
        spec["env"] = [_variable(name, value) for name, value in backend.env.items()]
    if backend.credentials:
        spec["credentials"] = [
            {"secretRef": {"name": given}} if isinstance(given, str) else given for given in backend.credentials
        ]
    if backend.pod_template:
        spec["podTemplate"] = dict(backend.pod_template)
    for name, value in (
        ("imagePullPolicy", backend.image_pull_policy),
        ("activeDeadlineSeconds", backend.active_deadline_seconds),
        ("ttlSecondsAfterFinished", backend.ttl_seconds_after_finished),
    ):
        if value is not None:
            spec[name] = value
    return spec


def check_own(backend: Kubernetes) -> None:
    """Look at what `Kubernetes(...)` says by itself.

    Raises:
        ValueError: Some of it is wrong.
    """
    known = {"image": backend.image, "command": ["python3"], "storage": {"path": "s3://bucket/runs"}}
    checked(_over({**known, **own_fields(backend)}, backend.spec))


def checked(spec: Object) -> Object:
    """Return a spec as the models write it.

    Raises:
        ValueError: It is wrong; the message has a line for each problem, with the names of the arguments.
    """
    from paceline.api import TrainJobSpec

    if found := list(checks.problems(spec)):
        raise ValueError("\n".join(map(in_python, found)))
    return TrainJobSpec.model_validate(spec).model_dump(mode="json", by_alias=True, exclude_unset=True)


def _metadata(order: Order, backend: Kubernetes) -> Object:
    metadata: Object = {"name": job_name(order.run)}
    if backend.namespace:
        metadata["namespace"] = backend.namespace
    if backend.labels:
        metadata["labels"] = dict(sorted(backend.labels.items()))
    told = {ANNOTATION_FUNCTION: order.function, ANNOTATION_PYTHON: order.python}
    if told := {name: text for name, text in told.items() if text}:
        metadata["annotations"] = told
    return metadata


def _storage(order: Order, backend: Kubernetes) -> Object:
    path, volume = order.storage_path, backend.volume
    storage: Object = {"name": directory_name(order.run)}
    if path is not None:
        storage["path"] = path
    if volume is not None:
        if path is None or not below(path, volume.mount_path):
            raise ValueError(
                f"Kubernetes.volume is mounted at {volume.mount_path!r}, and RunConfig.storage_path is {path!r}: name a"
                f" directory at or below the mount path, such as {volume.mount_path.rstrip('/')}/runs"
            )
        mount: Object = {"claimName": volume.claim, "mountPath": volume.mount_path}
        storage["volume"] = mount if volume.sub_path is None else {**mount, "subPath": volume.sub_path}
    elif path is not None and "://" not in path and not _mounted_above(path, backend.pod_template):
        raise ValueError(
            f"RunConfig.storage_path (or PACELINE_STORAGE) is {path!r}, a path of this machine, which the pods do not"
            " see: name a store they reach (s3://, gs://, hdfs://), or a claim that is mounted above it:"
            " Kubernetes(volume=Volume(...))"
        )
    if backend.storage_secret is not None:
        if path is None or "://" not in path:
            raise ValueError(
                f"Kubernetes.storage_secret is {backend.storage_secret!r}, and RunConfig.storage_path is {path!r}: the"
                " Secret holds the keys of a store, so name one such as s3://bucket/runs, or leave the Secret out"
            )
        storage["secretRef"] = {"name": backend.storage_secret}
    return storage


def _mounted_above(path: str, template: Mapping[str, Any]) -> bool:
    containers = (template.get("spec") or {}).get("containers") or ()
    mounts = [mount for container in containers for mount in container.get("volumeMounts") or ()]
    return any(below(path, str(mount.get("mountPath"))) for mount in mounts)


def _checkpoints(order: Order) -> Object:
    config = order.checkpoints
    kept: Object = {}
    if config.num_to_keep is not None:
        kept["keep"] = config.num_to_keep
    if config.checkpoint_score_attribute is not None:
        kept |= {"scoreAttribute": config.checkpoint_score_attribute, "scoreOrder": config.checkpoint_score_order}
    if order.resume_from:
        kept["resumeFrom"] = order.resume_from
    return kept


def _refuse_own_checkpoint(order: Order, backend: Kubernetes) -> None:
    """A path is one of the pods', so it has to be on what they mount."""
    path = order.resume_from
    if not path or "://" in path or _mounted_above(path, backend.pod_template):
        return
    if backend.volume is None or not below(path, backend.volume.mount_path):
        raise ValueError(
            f"resume_from_checkpoint is {path!r}, a path of this machine, which the pods do not see: copy the"
            " checkpoint to a store that they reach, and name it there: Checkpoint('s3://bucket/...')"
        )


def _artifacts(config: SyncConfig) -> Object:
    return {
        "sync": True,
        "periodSeconds": math.ceil(config.sync_period),
        "timeoutSeconds": math.ceil(config.sync_timeout),
        "onCheckpoint": config.sync_artifacts_on_checkpoint,
    }


def _variable(name: str, value: object) -> Object:
    return {"name": name, **value} if isinstance(value, Mapping) else {"name": name, "value": value}


def _mounted(template: Mapping[str, Any], name: str) -> Object:
    """The user's template with the task's ConfigMap as a volume of the worker."""
    spec: Object = dict(template.get("spec") or {})
    volume = {"name": TASK_VOLUME, "configMap": {"name": name}}
    mount = {"name": TASK_VOLUME, "mountPath": TASK_DIRECTORY, "readOnly": True}
    spec["volumes"] = [*(spec.get("volumes") or ()), volume]
    containers: Sequence[Object] = spec.get("containers") or ()
    if not any(container.get("name") == names.WORKER_CONTAINER for container in containers):
        containers = [*containers, {"name": names.WORKER_CONTAINER}]
    spec["containers"] = [
        {**container, "volumeMounts": [*(container.get("volumeMounts") or ()), mount]}
        if container.get("name") == names.WORKER_CONTAINER
        else container
        for container in containers
    ]
    return {**template, "spec": spec}


def _over(base: Mapping[str, Any], over: Mapping[str, Any]) -> Object:
    """`over` merged into `base`: maps by key, all else replaced."""
    merged = dict(base)
    for key, value in over.items():
        held = merged.get(key)
        merged[key] = _over(held, value) if isinstance(held, Mapping) and isinstance(value, Mapping) else value
    return merged
