"""Bringing a checkpoint into a directory, so that a broken command can be repeated; and the bar meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from paceline.cli.checkpoint_list import Row
from paceline.client.errors import UsageError
from paceline.storage import transfer
from paceline.train import _reading

_REDRAW_S = 0.1
_NAMES_SHOWN = 3


def fetch(row: Row, directory: Path, progress: transfer.Progress) -> int:
    """Bring the files, checked; those that lie there already and are right stay. Returns how many were fetched.

    Raises:
        UsageError: Something else lies in the directory.
        StorageError: The store failed, or a file is damaged.
        OSError: The disk.
    """
    there = _there(directory)
    foreign = [] if row.stored_elsewhere else sorted(there - set(row.commit.files))
    if foreign:
        shown = ", ".join(foreign[:_NAMES_SHOWN]) + (" ..." if len(foreign) > _NAMES_SHOWN else "")
        raise UsageError(
            f"{directory} holds files that are not of {row.commit.directory}: {shown}. Give an empty directory, or one"
            " that does not exist yet"
        )
    right = _reading.right_files(directory, row.commit)
    _reading.download(
        row.location,
        directory,
        commit=None if row.stored_elsewhere else row.commit,
        skip=lambda name: name in right,
        progress=progress,
    )
    return progress.files_done


@contextmanager
def bar(console: Console, title: str) -> Iterator[transfer.Progress]:
    """Figures to give to a transfer, drawn on a terminal while it runs; elsewhere nothing is printed."""
    figures = transfer.Progress()
    if not console.is_terminal:
        yield figures
        return
    from rich import progress as rich_progress

    drawn = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    over = threading.Event()

    def redraw(task: rich_progress.TaskID) -> None:
        while not over.wait(_REDRAW_S):
            drawn.update(task, completed=figures.bytes_done, total=figures.bytes_total or None)

    with drawn:
        thread = threading.Thread(target=redraw, args=(drawn.add_task(title, total=None),), daemon=True)
        thread.start()
        try:
            yield figures
        finally:
            over.set()
            thread.join()


def _there(directory: Path) -> set[str]:
    """What lies in the directory already; what a broken transfer left begun is not counted."""
    try:
        found = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir()}
    except NotADirectoryError:
        found = {"."}
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is a file: give a directory")
    return {name for name in found if not _is_partial(name)}


def _is_partial(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last.endswith(".partial") or last.startswith(".paceline-partial-")
