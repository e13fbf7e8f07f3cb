"""Where the task's files go: into a ConfigMap beside the job, or, where they are too large, into the run's storage."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from paceline import _contract as c
from paceline.storage import StorageError, join, resolve, retry
from paceline.trainer import _task
from paceline.trainer._pickling import own_modules
from paceline.trainer._task import Task
from paceline.trainer._taskfiles import WORKING_DIR
from paceline.trainer.cluster.manifest import CONFIG_MAP_BYTES, TASK_FILE, Order, fits_config_map
from paceline.trainer.cluster.settings import Kubernetes
from paceline.trainer.cluster.workdir import pack

PATIENCE_S = 20.0


def files(task: Task, backend: Kubernetes) -> dict[str, bytes]:
    """The task, and the working directory where one goes along.

    Raises:
        TypeError: Something that the function uses cannot be pickled.
        ValueError: The working directory cannot go along.
    """
    if backend.working_dir is None:
        return {TASK_FILE: _task.dumps(task)}
    archive = pack(backend.working_dir, backend.exclude)
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        same_files = _holds(Path(backend.working_dir).expanduser().resolve(), set(packed.namelist()))
    return {TASK_FILE: _task.dumps(task, same_files=same_files), WORKING_DIR: archive}


def _holds(directory: Path, packed: set[str]) -> bool:
    """Whether the workers import each of the user's modules from the directory, by the name that it has here."""
    for module in own_modules():
        assert module.__file__ is not None
        path = module.__name__.replace(".", "/")
        file = Path(module.__file__).resolve()
        names = [name for name in (f"{path}.py", f"{path}/__init__.py") if file == directory / name]
        if not packed.issuperset(names) or not names:
            return False
    return True


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
