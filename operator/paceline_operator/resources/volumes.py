"""Volumes of a pod and their mounts in the worker."""

from __future__ import annotations

from typing import Any, TypeAlias

from paceline.api import TrainJob
from paceline_operator import contract
from paceline_operator.policies.config import JobDefaults
from paceline_operator.resources import store

Mounted: TypeAlias = tuple[dict[str, Any], dict[str, Any]]
"""A volume of the pod, and its mount in the container."""


def volumes(job: TrainJob, config: JobDefaults) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the volumes and, in the same order, the mounts of the worker container."""
    found = [_own()]
    if job.spec.workers.shared_memory is not None:
        name, size = contract.SHARED_MEMORY_VOLUME, job.spec.workers.shared_memory
        found.append(
            (
                {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": size}},
                {"name": name, "mountPath": "/dev/shm"},
            )
        )
    found += _storage(job, config)
    for position, credential in enumerate(job.spec.credentials):
        if credential.mount_path is not None:
            name = f"paceline-credential-{position}"
            secret: dict[str, Any] = {"secretName": credential.secret_ref.name}
            if credential.secret_ref.optional:
                secret["optional"] = True
            mounted = {"name": name, "mountPath": credential.mount_path, "readOnly": True}
            found.append(({"name": name, "secret": secret}, mounted))
    return _apart(found)


def of_storage(job: TrainJob, config: JobDefaults) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return, in the same way, those that show what is in storage and bring the agent's package."""
    return _apart([_own(), *_storage(job, config)])


def _own() -> Mounted:
    return {"name": contract.VOLUME, "emptyDir": {}}, {"name": contract.VOLUME, "mountPath": contract.MOUNT_PATH}


def _storage(job: TrainJob, config: JobDefaults) -> list[Mounted]:
    found: list[Mounted] = []
    volume = job.spec.storage.volume
    if volume is not None:
        name = contract.STORAGE_VOLUME
        mount = {"name": name, "mountPath": volume.mount_path}
        found.append(
            (
                {"name": name, "persistentVolumeClaim": {"claimName": volume.claim_name}},
                mount if volume.sub_path is None else {**mount, "subPath": volume.sub_path},
            )
        )
    key_file = store.key_file(job, config)
    if key_file is not None:
        name, (secret_name, key) = contract.STORAGE_KEY_VOLUME, key_file
        items = [{"key": key, "path": contract.STORAGE_KEY_FILE}]
        found.append(
            (
                {"name": name, "secret": {"secretName": secret_name, "items": items}},
                {"name": name, "mountPath": contract.STORAGE_KEY_DIRECTORY, "readOnly": True},
            )
        )
    return found


def _apart(found: list[Mounted]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return [volume for volume, _ in found], [mount for _, mount in found]
