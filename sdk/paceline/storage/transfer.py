"""Files and whole directories between this machine and a store: everything that moves bytes goes through here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from paceline.storage import checksum, retry
from paceline.storage._base import Storage
from paceline.storage._errors import StorageError, StorageNotFoundError
from paceline.storage._transfer_progress import Progress

__all__ = ["PATIENCE_S", "Progress", "download_directory", "get_file", "put_file", "upload_directory"]

FILES_AT_ONCE = 16
PATIENCE_S = 600.0
# A file that arrives damaged is fetched again this often.
_FETCHES = 3

OnRetry = Callable[[StorageError, float], None]
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
    told = progress or Progress()
    size = Path(local).stat().st_size
    told.expect(1, size)
    return _put(storage, str(local), path, size, patience_s, on_retry, told)


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
    told = progress or Progress()
    target = Path(local)
    target.parent.mkdir(parents=True, exist_ok=True)
    size = int(expected["size"]) if expected and "size" in expected else None
    told.expect(1, size or 0)
    _get(storage, path, target, size, expected or {}, patience_s, on_retry, told)


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
    told = progress or Progress()
    root = Path(local)
    found = sorted(_below(root) if names is None else names)
    sizes = {name: (root / name).stat().st_size for name in found}
    told.expect(len(sizes), sum(sizes.values()))

    def one(name: str) -> About:
        return _put(storage, str(root / name), f"{directory}/{name}", sizes[name], patience_s, on_retry, told)

    return dict(zip(found, _parallel(one, found), strict=True))


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
    told = progress or Progress()
    root = Path(local)
    listed = retry.call(
        lambda: {entry.name: entry.size for entry in storage.files(directory)}, patience_s=patience_s, on_retry=on_retry
    )
    if not listed:
        raise StorageNotFoundError(f"nothing lies at {storage.uri(directory)}")
    commit = expected or {}
    missing = sorted(name for name in commit if wanted(name) and name not in listed)
    if missing:
        raise StorageNotFoundError(f"{storage.uri(directory)} lacks {len(missing)} of its files, {missing[0]} first")
    sizes = {name: size for name, size in listed.items() if wanted(name)}
    told.expect(len(sizes), sum(sizes.values()))
    for parent in {(root / name).parent for name in sizes} | {root}:
        parent.mkdir(parents=True, exist_ok=True)

    def one(name: str) -> None:
        path = f"{directory}/{name}"
        _get(storage, path, root / name, sizes[name], commit.get(name, {}), patience_s, on_retry, told)

    _parallel(one, list(sizes))


def _put(
    storage: Storage, local: str, path: str, size: int, patience_s: float, on_retry: OnRetry | None, told: Progress
) -> About:
    sums = checksum.of_file(local)
    retry.call(lambda: storage.put_file(local, path), patience_s=patience_s, on_retry=_counted(told, on_retry))
    there = retry.call(lambda: storage.size(path), patience_s=patience_s, on_retry=_counted(told, on_retry))
    if there != size:
        raise StorageError(f"{storage.uri(path)} has {there} bytes after {size} were stored", retryable=True)
    told.moved(size)
    told.finished()
    return {"size": size, **sums}


def _get(
    storage: Storage,
    path: str,
    target: Path,
    size: int | None,
    expected: Mapping[str, Any],
    patience_s: float,
    on_retry: OnRetry | None,
    told: Progress,
) -> None:
    wrong = ""
    for _ in range(_FETCHES):
        retry.call(
            lambda: storage.get_file(path, str(target)), patience_s=patience_s, on_retry=_counted(told, on_retry)
        )
        wrong = _damage(target, expected.get("size", size), expected)
        if not wrong:
            told.moved(target.stat().st_size)
            told.finished()
            return
        target.unlink(missing_ok=True)
    raise StorageError(f"{storage.uri(path)} {wrong}")


def _damage(target: Path, size: int | None, expected: Mapping[str, Any]) -> str:
    there = target.stat().st_size
    if size is not None and there != size:
        return f"came with {there} bytes instead of {size}"
    sums = {kind: value for kind, value in expected.items() if kind.startswith("crc")}
    if sums and checksum.matches(target, sums) is False:
        return f"came with another checksum than {sums}"
    return ""


def _below(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and not path.is_symlink()]


def _parallel(work: Callable[[str], Any], names: list[str]) -> list[Any]:
    with ThreadPoolExecutor(min(FILES_AT_ONCE, max(1, len(names)))) as pool:
        futures = [pool.submit(work, name) for name in names]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise


def _counted(told: Progress, on_retry: OnRetry | None) -> OnRetry:
    def count(error: StorageError, wait_s: float) -> None:
        told.retried()
        if on_retry is not None:
            on_retry(error, wait_s)

    return count
