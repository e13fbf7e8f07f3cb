"""Where the task's files go: into a ConfigMap beside the job, or, where they are too large, into the run's storage."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial

from paceline import _contract as c
from paceline.storage import StorageError, join, resolve, retry
from paceline.trainer._taskfiles import WORKING_DIR
from paceline.trainer.cluster.manifest import CONFIG_MAP_BYTES, TASK_FILE, Order, fits_config_map
from paceline.trainer.cluster.settings import Kubernetes
from paceline.trainer.cluster.workdir import pack

PATIENCE_S = 20.0


def files(task: bytes, backend: Kubernetes) -> dict[str, bytes]:
    """The task, and the working directory where one goes along.

    Raises:
        ValueError: The working directory cannot go along.
    """
    if backend.working_dir is None:
        return {TASK_FILE: task}
    return {TASK_FILE: task, WORKING_DIR: pack(backend.working_dir, backend.exclude)}


def directory(order: Order, backend: Kubernetes, content: Mapping[str, bytes]) -> str | None:
    """Where in storage the files have to go; None where a ConfigMap holds them.

    Raises:
        ValueError: They are too large for a ConfigMap, and the run has no storage that is reached from here and there.
    """
    if fits_config_map(content):
        return None
    path = order.storage_path
    if path is None or "://" not in path or backend.volume is not None:
        raise ValueError(
            f"{_large(content)}, more than the {CONFIG_MAP_BYTES} that a ConfigMap holds. Name a store that takes them,"
            " RunConfig(storage_path='s3://bucket/runs'), or make them smaller: read data in the function, put modules"
            " into the image"
        )
    digest = hashlib.sha256(b"".join(hashlib.sha256(content[name]).digest() for name in sorted(content)))
    return join(path, order.run, c.STATE_DIR, "task", digest.hexdigest()[:16])


def upload(place: str, content: Mapping[str, bytes]) -> None:
    """Write the files to storage.

    Raises:
        ValueError: The store cannot be written to from here.
    """
    try:
        storage, path = resolve(place)
        for name, data in sorted(content.items()):
            retry.call(partial(storage.write, f"{path}/{name}", data), patience_s=PATIENCE_S)
    except (StorageError, ImportError) as error:
        raise ValueError(
            f"{_large(content)}, too much for a ConfigMap, and cannot be written to {place} from here: {error}. Give"
            " this process the keys of that store, or make them smaller: read data in the function, put modules into"
            " the image"
        ) from error


def _large(content: Mapping[str, bytes]) -> str:
    told = ", ".join(f"{name} of {len(data)} bytes" for name, data in sorted(content.items()))
    return f"the training function and what goes along with it are {told}"
