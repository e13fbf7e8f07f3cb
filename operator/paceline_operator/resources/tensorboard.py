"""The TensorBoard of a run: a Deployment of one pod and a Service, which show the events in the job's storage."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from paceline.api import TrainJob, names
from paceline_operator import contract
from paceline_operator.policies.config import JobDefaults
from paceline_operator.policies.observed import Observed
from paceline_operator.resources import metadata, pod, store, volumes
from paceline_operator.resources.placement import HOSTNAME, PREFERENCE_WEIGHT, PREFERRED

PORT = names.TENSORBOARD_PORT
CONTAINER = "tensorboard"
DISABLED = (
    "spec.tracking.tensorboard.serve is true, but this operator makes no TensorBoards (tensorboard.enabled of its "
    "configuration): run `tensorboard --logdir` yourself, or ask whoever runs the operator; training goes on"
)
# As the script of the agent does: of the image nothing is known but that it has a shell.
_FIND_PYTHON = (
    f'export PYTHONPATH="{contract.MOUNT_PATH}/core${{PYTHONPATH:+:$PYTHONPATH}}"; '
    'for python in "${PACELINE_PYTHON:-}" python3 python; do '
    '[ -n "$python" ] && command -v "$python" >/dev/null 2>&1 && '
    f'exec "$python" -m paceline.tracking.serve --port {PORT}; done; '
    'echo "[paceline] this image has no python3 on its PATH ($PATH): name one that has, and tensorboard, in '
    'spec.tracking.tensorboard.image" >&2; exit 64'
)
# Of the pod template, what decides whether the image and the store can be reached, and as whom.
_FROM_TEMPLATE = ("serviceAccountName", "imagePullSecrets")


def due(job: TrainJob, seen: Observed, now: datetime, config: JobDefaults) -> tuple[bool, timedelta | None]:
    """Tell whether to make the TensorBoard of a job now, and else when to ask again; None: never."""
    if not (job.spec.tracking.tensorboard.serve and config.tensorboard) or seen.tensorboard:
        return False, None
    if seen.tensorboard_again is not None and seen.tensorboard_again > now:
        return False, seen.tensorboard_again - now
    return True, None


def name(job: TrainJob) -> str:
    """Return the name of both objects."""
    return names.tensorboard(job.name)


def service(job: TrainJob) -> dict[str, Any]:
    """Return the Service."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(job),
        "spec": {
            "selector": _selector(job),
            "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def deployment(job: TrainJob, config: JobDefaults) -> dict[str, Any]:
    """Return the Deployment. Its pod has the job's storage credentials, and no others."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(job),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 0,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": _selector(job)},
            "template": {"metadata": {"labels": _selector(job)}, "spec": _pod(job, config)},
        },
    }


def _metadata(job: TrainJob) -> dict[str, Any]:
    return {
        "name": name(job),
        "namespace": job.namespace,
        "labels": metadata.labels(job),
        "ownerReferences": [metadata.owner(job)],
    }


def _selector(job: TrainJob) -> dict[str, str]:
    # Without the label of the workers: the job's own Service, and whoever counts its pods, must not find this one.
    return {contract.LABEL_TENSORBOARD: job.name, contract.LABEL_MANAGED_BY: contract.MANAGED_BY}


def _pod(job: TrainJob, config: JobDefaults) -> dict[str, Any]:
    found, mounts = volumes.of_storage(job, config)
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **pod.security(config),
        "containers": [_container(job, config, mounts)],
        "volumes": found,
        **{field: job.spec.pod_template.spec[field] for field in _FROM_TEMPLATE if field in job.spec.pod_template.spec},
    }
    if job.spec.agent.inject:
        spec["initContainers"] = [pod.inject(config)]
    if job.spec.storage.volume is not None:
        # A volume that one node alone may mount is where the workers are.
        near = {"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": {contract.LABEL_JOB: job.name}}}
        spec["affinity"] = {"podAffinity": {PREFERRED: [{"weight": PREFERENCE_WEIGHT, "podAffinityTerm": near}]}}
    return spec


def _container(job: TrainJob, config: JobDefaults, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    secret = store.variables(job, config)
    variables = {
        contract.HOME: contract.HOME_PATH,
        contract.TMPDIR: contract.TMP_PATH,
        contract.STORAGE_PATH: store.path(job, config) or "",
        contract.EXPERIMENT_NAME: job.experiment_name,
        **store.key_file_variables(job, config),
    }
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": job.spec.tracking.tensorboard.image or job.spec.image,
        "command": ["/bin/sh", "-c", _FIND_PYTHON],
        "env": [{"name": variable, "value": value} for variable, value in variables.items()],
        "envFrom": [{"secretRef": {"name": secret}}] if secret else [],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5, "timeoutSeconds": 5},
        "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [_read_only(mount) for mount in mounts],
        **pod.container_security(config),
    }
    if job.spec.image_pull_policy is not None and not job.spec.tracking.tensorboard.image:
        container["imagePullPolicy"] = job.spec.image_pull_policy
    return container


def _read_only(mount: dict[str, Any]) -> dict[str, Any]:
    return mount if mount["name"] == contract.VOLUME else {**mount, "readOnly": True}
