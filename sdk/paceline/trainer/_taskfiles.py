"""A worker's task file, and the working directory beside it: on this machine, in a mounted ConfigMap, or in storage."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import zipfile
from pathlib import Path

from paceline import _brought
from paceline.trainer._task import TaskError, header

WORKING_DIR = "working_dir.zip"
PATIENCE_S = 60.0


def read(name: str) -> bytes:
    """Return the bytes of the task file, whose Python version is looked at already.

    A `working_dir.zip` beside it is unpacked for this process, and stands first on `sys.path`.

    Args:
        name: A path, or a URI of storage, whose keys are in this process's environment.
    Raises:
        TaskError: A file cannot be read, or `header` refuses the task.
    """
    task, archive = _from_store(name) if "://" in name else _from_directory(Path(name))
    header(task)  # before the working directory is unpacked: the most likely mistake is told alone
    if archive is not None:
        sys.path.insert(0, _unpacked(archive))
    if importlib.util.find_spec("cloudpickle") is None:
        _brought.reach()  # without it too, `loads` says so
    return task


def _from_directory(task: Path) -> tuple[bytes, bytes | None]:
    try:
        archive = task.with_name(WORKING_DIR)
        return task.read_bytes(), archive.read_bytes() if archive.exists() else None
    except OSError as e:
        raise TaskError(f"the task file {task} cannot be read: {e.strerror}") from None


def _from_store(uri: str) -> tuple[bytes, bytes | None]:
    from paceline.storage import StorageError, StorageNotFoundError, resolve, retry

    try:
        storage, path = resolve(uri)
        task = retry.call(lambda: storage.read(path), patience_s=PATIENCE_S)
        beside = f"{path.rpartition('/')[0]}/{WORKING_DIR}"
        try:
            return task, retry.call(lambda: storage.read(beside), patience_s=PATIENCE_S)
        except StorageNotFoundError:
            return task, None
    except StorageError as e:
        raise TaskError(f"the task file {uri} cannot be read: {e}") from None


def _unpacked(archive: bytes) -> str:
    """A directory of this process's own: the workers of a pod start at the same time."""
    directory = tempfile.mkdtemp(prefix="paceline-working-dir-")
    with tempfile.TemporaryFile() as file:
        file.write(archive)
        with zipfile.ZipFile(file) as entries:
            for entry in entries.infolist():
                target = Path(entries.extract(entry, directory))
                if mode := entry.external_attr >> 16 & 0o777:
                    target.chmod(mode)
    return directory
