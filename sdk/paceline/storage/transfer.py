"""Files and whole directories between this machine and a store: everything that moves bytes goes through here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from paceline.storage._base import RangeReader, Storage
from paceline.storage._errors import StorageError, StorageNotFoundError
from paceline.storage._gcs import GcsStorage
from paceline.storage._local import LocalStorage
from paceline.storage._s3 import S3Storage
from paceline.storage._transfer_gcs import WHOLE_BYTES, GcsSource, GcsUpload
from paceline.storage._transfer_local import LocalCopy
from paceline.storage._transfer_plain import PlainDownload, PlainUpload
from paceline.storage._transfer_progress import Progress
from paceline.storage._transfer_ranges import RANGE_BYTES, RangeDownload, RangeReaderSource, S3Source
from paceline.storage._transfer_s3 import S3Upload
from paceline.storage._transfer_workers import OnRetry, Rules, run

__all__ = ["PATIENCE_S", "Progress", "download_directory", "get_file", "put_file", "upload_directory"]

PATIENCE_S = 600.0

About = dict[str, Any]


def put_file(
    storage: Storage,
    local: str | Path,
    path: str,
    *,
    patience_s: float = PATIENCE_S,
    on_retry: OnRetry | None = None,
    progress: Progress | None = None,
) -> About:
    """Store one local file under `path`; blocks.

    Args:
        patience_s: How long a request that fails in a way that may pass is repeated.
        on_retry: Told the error and the seconds until the next try, from any thread.
    Returns:
        `{"size": bytes, "crc32c": "1a2b3c4d"}` of what was stored; the sum's key is `crc32` where no fast CRC-32C is
        installed.
    Raises:
        StorageError: The store failed, or holds another size afterwards.
        OSError: The local file cannot be read.
    """
    rules = Rules(patience_s, on_retry, progress or Progress())
    return _upload(storage, {path: (Path(local), Path(local).stat().st_size)}, rules)[path]


def get_file(
    storage: Storage,
    path: str,
    local: str | Path,
    *,
    expected: Mapping[str, Any] | None = None,
    patience_s: float = PATIENCE_S,
    on_retry: OnRetry | None = None,
    progress: Progress | None = None,
) -> None:
    """Bring one file here; blocks. It appears under `local` when it is whole; directories are made.

    Args:
        expected: Its entry in a commit's `files`: size and checksum that it must have.
    Raises:
        StorageNotFoundError: It is not there.
        StorageError: The store failed, or the file is not what `expected` says, after several tries.
    """
    rules = Rules(patience_s, on_retry, progress or Progress())
    size = _size(storage, path, rules)
    _check_expected(storage, path, size, expected or {})
    target = Path(local)
    target.parent.mkdir(parents=True, exist_ok=True)
    _check_room(target.parent, size)
    _download(storage, {path: (target, size, expected or {})}, rules)


def upload_directory(
    storage: Storage,
    local: str | Path,
    directory: str,
    *,
    names: Iterable[str] | None = None,
    patience_s: float = PATIENCE_S,
    on_retry: OnRetry | None = None,
    progress: Progress | None = None,
) -> dict[str, About]:
    """Store every regular file below `local` under `directory`; blocks.

    Args:
        names: Only these, relative to `local`, with `/`.
    Returns:
        Name -> size and checksum, as a commit's `files`.
    Raises:
        StorageError: The store failed; what had arrived by then stays there.
        OSError: A local file cannot be read.
    """
    rules = Rules(patience_s, on_retry, progress or Progress())
    root = Path(local)
    found = sorted(_below(root) if names is None else names)
    files = {f"{directory}/{name}": (root / name, (root / name).stat().st_size) for name in found}
    stored = _upload(storage, files, rules)
    return {name: stored[f"{directory}/{name}"] for name in found}


def download_directory(
    storage: Storage,
    directory: str,
    local: str | Path,
    *,
    wanted: Callable[[str], bool] = lambda name: True,
    expected: Mapping[str, Mapping[str, Any]] | None = None,
    patience_s: float = PATIENCE_S,
    on_retry: OnRetry | None = None,
    progress: Progress | None = None,
) -> None:
    """Bring every file below `directory` for whose name `wanted` is true into `local`; blocks.

    Args:
        expected: A commit's `files`: those of them that are wanted must be there, with these sizes and sums.
    Raises:
        StorageNotFoundError: There is no file at all.
        StorageError: The store failed, or a file is not what was listed or expected. `local` holds a part then.
    """
    rules = Rules(patience_s, on_retry, progress or Progress())
    root = Path(local)
    listed = rules.again(lambda: {entry.name: entry.size for entry in storage.files(directory)})
    if not listed:
        raise StorageNotFoundError(f"nothing lies at {storage.uri(directory)}")
    commit = expected or {}
    missing = sorted(name for name in commit if wanted(name) and name not in listed)
    if missing:
        raise StorageNotFoundError(f"{storage.uri(directory)} lacks {len(missing)} of its files, {missing[0]} first")
    sizes = {name: size for name, size in listed.items() if wanted(name)}
    for name, size in sizes.items():
        if name.startswith("/") or ".." in name.split("/"):
            # Others may write to the store: no name of theirs shall land outside of `local`.
            raise StorageError(
                f"{storage.uri(directory)} holds a file named {name!r}, which leads out of it: remove it"
            )
        _check_expected(storage, f"{directory}/{name}", size, commit.get(name, {}))
    for parent in {name.rpartition("/")[0] for name in sizes} | {""}:
        (root / parent).mkdir(parents=True, exist_ok=True)
    _check_room(root, sum(sizes.values()))
    _download(
        storage,
        {f"{directory}/{name}": (root / name, size, commit.get(name, {})) for name, size in sizes.items()},
        rules,
    )


def _upload(storage: Storage, files: Mapping[str, tuple[Path, int]], rules: Rules) -> dict[str, About]:
    """Path in the store -> its size and sum; `files` gives the local file and its size."""
    rules.progress.expect(len(files), sum(size for _, size in files.values()))
    tasks: dict[str, S3Upload | GcsUpload | LocalCopy | PlainUpload] = {}
    for path, (local, size) in files.items():
        if isinstance(storage, S3Storage):
            objects, key = storage.objects(path)
            tasks[path] = S3Upload(objects, key, storage.uri(path), local, size, rules)
        elif isinstance(storage, LocalStorage):
            tasks[path] = LocalCopy(local, Path(path), size, {}, rules, durable=True)
        elif isinstance(storage, GcsStorage) and size <= WHOLE_BYTES and (google := storage.objects(path)):
            tasks[path] = GcsUpload(google, path, local, size, rules)
        else:
            tasks[path] = PlainUpload(storage, local, path, size, rules)
    run(list(tasks.values()), rules)
    if lost := {path: task for path, task in tasks.items() if isinstance(task, S3Upload) and task.lost}:
        # Once: a store that forgets parts again and again is not to be trusted with them.
        again = {path: task.forget() for path, task in lost.items()}
        run(list(again.values()), rules)
        tasks |= again
        if worse := [path for path, task in again.items() if task.lost]:
            for task in again.values():
                task.abort()
            raise StorageError(f"the store has twice forgotten the parts of {storage.uri(worse[0])}", retryable=True)
    return {path: task.about for path, task in tasks.items()}


def _download(storage: Storage, files: Mapping[str, tuple[Path, int, Mapping[str, Any]]], rules: Rules) -> None:
    """`files` gives for each path in the store the local file, its size and its entry in a commit."""
    rules.progress.expect(len(files), sum(size for _, size, _ in files.values()))
    tasks: list[RangeDownload | LocalCopy | PlainDownload] = []
    for path, (target, size, expected) in files.items():
        uri = partial(storage.uri, path)
        if isinstance(storage, S3Storage):
            objects, key = storage.objects(path)
            tasks.append(RangeDownload(S3Source(objects, key), uri, target, size, expected, rules))
        elif isinstance(storage, LocalStorage):
            tasks.append(LocalCopy(Path(path), target, size, expected, rules, durable=False))
        elif isinstance(storage, GcsStorage) and (google := storage.objects(path)):
            tasks.append(RangeDownload(GcsSource(google, path), uri, target, size, expected, rules))
        elif isinstance(storage, RangeReader) and size > RANGE_BYTES:
            tasks.append(RangeDownload(RangeReaderSource(storage, path), uri, target, size, expected, rules))
        else:
            tasks.append(PlainDownload(storage, path, target, size, expected, rules))
    run(tasks, rules)


def _size(storage: Storage, path: str, rules: Rules) -> int:
    size = rules.again(lambda: storage.size(path))
    if size is None:
        raise StorageNotFoundError(f"nothing lies at {storage.uri(path)}")
    return size


def _check_expected(storage: Storage, path: str, size: int, expected: Mapping[str, Any]) -> None:
    wanted = expected.get("size", size)
    if wanted != size:
        raise StorageError(f"{storage.uri(path)} has {size} bytes instead of the {wanted} of its commit")


def _check_room(directory: Path, size_bytes: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < size_bytes:
        raise StorageError(
            f"{directory} has {free} bytes free and {size_bytes} are to be downloaded: free space, or take a larger"
            " disk (in a pod: its ephemeral storage)"
        )


def _below(root: Path) -> list[str]:
    return [
        path.relative_to(root).as_posix()
        for folder, _, names in os.walk(root)
        for path in (Path(folder) / name for name in names)
        if path.is_file()
    ]
