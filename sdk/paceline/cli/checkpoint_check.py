"""Are the files of a checkpoint what its commit says? By a listing, or by fetching every byte."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from paceline import _contract as c
from paceline.cli.checkpoint_list import Row
from paceline.client.errors import UsageError
from paceline.storage import StorageNotFoundError, checksum, retry, transfer

_AT_ONCE = 4
PATIENCE_S = 30.0


def sizes(rows: Sequence[Row]) -> list[Row]:
    """Compare what the store lists with the commits.

    Raises:
        StorageError: The store cannot be asked.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda row: replace(row, damage=tuple(_wrong_sizes(row))), rows))


def contents(rows: Sequence[Row], progress: transfer.Progress) -> list[Row]:
    """Fetch every file, a few at a time and each deleted at once, and compare its checksum too.

    Raises:
        UsageError: This machine cannot compute the checksums.
        StorageError: The store cannot be asked.
        OSError: The temporary directory has no room for a few files.
    """
    _check_kinds(rows)
    checked = sizes(rows)
    with tempfile.TemporaryDirectory(prefix="paceline-verify-") as directory, ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = [
            (i, pool.submit(_wrong_content, row, name, Path(directory, f"{i}-{n}"), progress))
            for i, row in enumerate(checked)
            for n, name in enumerate(row.commit.lasting_files)
            if not row.damage
        ]
        damage: dict[int, list[str]] = {}
        try:
            for i, job in jobs:
                if said := job.result():
                    damage.setdefault(i, []).append(said)
        except BaseException:
            for _, job in jobs:
                job.cancel()
            raise
    return [replace(row, damage=tuple(damage[i])) if i in damage else row for i, row in enumerate(checked)]


def _wrong_sizes(row: Row) -> Iterator[str]:
    location, commit = row.location, row.commit
    if row.stored_elsewhere:
        return  # nothing was noted to compare with
    listed = retry.call(
        lambda: {entry.name: entry.size for entry in location.storage.files(location.path)}, patience_s=PATIENCE_S
    )
    for name, about in sorted(commit.lasting_files.items()):
        if name not in listed:
            yield f"{name} is missing"
        elif listed[name] != about["size"]:
            yield f"{name} has {listed[name]} bytes instead of {about['size']}"
    if c.COMMIT_FILE not in listed:
        yield "it was removed meanwhile"


def _wrong_content(row: Row, name: str, local: Path, progress: transfer.Progress) -> str:
    """A sum that differs is fetched once more: then it is the store's file, and not the way, that is damaged."""
    location, about = row.location, row.commit.files[name]
    try:
        for _ in range(2):
            transfer.get_file(
                location.storage, f"{location.path}/{name}", local, patience_s=PATIENCE_S, progress=progress
            )
            if checksum.matches(local, about) is not False:
                return ""
    except StorageNotFoundError:
        return f"{name} is missing"
    finally:
        local.unlink(missing_ok=True)
    return f"{name} has the right size and another content: its checksum differs from the commit's"


def _check_kinds(rows: Sequence[Row]) -> None:
    kinds = {kind for row in rows for about in row.commit.files.values() for kind in about if kind.startswith("crc")}
    if missing := sorted(kind for kind in kinds if checksum.known(kind) is None):
        raise UsageError(
            f"this machine has no fast {', '.join(missing)}, the checksum of these files: pip install 'paceline[s3]',"
            " or compare sizes alone with --verify"
        )
