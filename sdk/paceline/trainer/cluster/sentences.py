"""Fields of a TrainJob by the Python arguments that they come from, for messages to people who wrote Python."""

from __future__ import annotations

import re

ARGUMENTS = {
    "metadata.name": "RunConfig.name",
    "metadata.labels": "Kubernetes.labels",
    "spec.image": "Kubernetes.image",
    "spec.imagePullPolicy": "Kubernetes.image_pull_policy",
    "spec.env": "Kubernetes.env",
    "spec.workers.count": "ScalingConfig.num_workers",
    "spec.workers.perPod": "Kubernetes.per_pod",
    "spec.workers.resources": "ScalingConfig.resources_per_worker",
    "spec.workers.resources.cpu": 'ScalingConfig.resources_per_worker["CPU"]',
    "spec.workers.resources.gpu": 'ScalingConfig.resources_per_worker["GPU"]',
    "spec.workers.resources.memory": 'ScalingConfig.resources_per_worker["memory"]',
    "spec.workers.gpuResource": "Kubernetes.gpu_resource",
    "spec.workers.accelerator": "ScalingConfig.accelerator_type",
    "spec.workers.placement": "ScalingConfig.placement_strategy",
    "spec.workers.sharedMemory": "Kubernetes.shared_memory",
    "spec.podTemplate": "Kubernetes.pod_template",
    "spec.storage.path": "RunConfig.storage_path",
    "spec.storage.name": "RunConfig.name",
    "spec.storage.volume": "Kubernetes.volume",
    "spec.storage.volume.claimName": "Kubernetes.volume.claim",
    "spec.storage.volume.mountPath": "Kubernetes.volume.mount_path",
    "spec.storage.volume.subPath": "Kubernetes.volume.sub_path",
    "spec.storage.secretRef": "Kubernetes.storage_secret",
    "spec.credentials": "Kubernetes.credentials",
    "spec.checkpoints.keep": "CheckpointConfig.num_to_keep",
    "spec.checkpoints.scoreAttribute": "CheckpointConfig.checkpoint_score_attribute",
    "spec.checkpoints.scoreOrder": "CheckpointConfig.checkpoint_score_order",
    "spec.checkpoints.resumeFrom": "resume_from_checkpoint",
    "spec.checkpoints": "resume_from_checkpoint",
    "spec.artifacts.periodSeconds": "SyncConfig.sync_period",
    "spec.artifacts.timeoutSeconds": "SyncConfig.sync_timeout",
    "spec.failurePolicy.maxRestarts": "FailureConfig.max_failures",
    "spec.activeDeadlineSeconds": "Kubernetes.active_deadline_seconds",
    "spec.ttlSecondsAfterFinished": "Kubernetes.ttl_seconds_after_finished",
}
# The longest first: a field before the object that holds it. Not within a longer word or path.
_FIELD = re.compile(
    r"(?<![\w.])(" + "|".join(re.escape(field) for field in sorted(ARGUMENTS, key=len, reverse=True)) + r")(?!\w)"
)
_REST = re.compile(r"(?<![\w.])spec(?=[.:]\S)")


def in_python(message: str) -> str:
    """Return a message about a manifest with the names of the arguments instead of the fields."""
    return _REST.sub("Kubernetes.spec", _FIELD.sub(lambda found: ARGUMENTS[found[1]], message))
