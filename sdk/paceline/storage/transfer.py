"""Whole directories between a store and this machine, several files at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from paceline.storage import retry
from paceline.storage._base import Storage
from paceline.storage._errors import StorageError, StorageNotFoundError

FILES_AT_ONCE = 16
PATIENCE_S = 600.0


def download_directory(
    storage: Storage,
    directory: str,
    local: Path,
    *,
    wanted: Callable[[str], bool] = lambda name: True,
    patience_s: float = PATIENCE_S,
) -> None:
    """Bring every file below `directory` for whose name `wanted` is true into `local`; blocks.

    Raises:
        StorageNotFoundError: There is no file at all.
        StorageError: The store failed, or a file arrived with another size than listed. `local` holds a part then.
    """
    listed = retry.call(lambda: list(storage.files(directory)), patience_s=patience_s)
    entries = [entry for entry in listed if wanted(entry.name)]
    if not listed:
        raise StorageNotFoundError(f"nothing lies at {storage.uri(directory)}")
    for parent in {(local / entry.name).parent for entry in entries} | {local}:
        parent.mkdir(parents=True, exist_ok=True)

    def fetch(name: str, size: int) -> None:
        target = local / name
        retry.call(lambda: storage.get_file(f"{directory}/{name}", str(target)), patience_s=patience_s)
        if target.stat().st_size != size:
            raise StorageError(
                f"{storage.uri(directory)}/{name} came with {target.stat().st_size} bytes instead of {size}"
            )

    with ThreadPoolExecutor(min(FILES_AT_ONCE, max(1, len(entries)))) as pool:
        for done in [pool.submit(fetch, entry.name, entry.size) for entry in entries]:
            done.result()
