"""`paceline get`: jobs as rows, with the columns of `kubectl get tj`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from paceline.api import TrainJob
from paceline.cli import text
from paceline.client.jobs import run_directory

# With --watch rows come one by one: these widths (of what most jobs need) keep them below each other.
_WIDTHS = {"NAMESPACE": 12, "NAME": 16, "PHASE": 11, "WORKERS": 7, "STEP": 6, "CHECKPOINT": 10, "RESTARTS": 8, "AGE": 6}


def jobs(
    shown: Sequence[TrainJob], now: datetime, *, namespaces: bool = False, wide: bool = False, header: bool = True,
    steady: bool = False,
) -> Table:  # fmt: skip
    """Return the table.

    Args:
        shown: The jobs, in this order.
        now: For ages.
        namespaces: Show the namespace first.
        wide: Show metrics, image and the run directory too.
        header: Show the names of the columns.
        steady: Columns have a least width, so that tables of one row each stand below each other.
    """
    table = Table(box=None, show_header=header, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    columns = ["NAME", "PHASE", "WORKERS", "STEP", "CHECKPOINT", "RESTARTS", "AGE"]
    if namespaces:
        columns.insert(0, "NAMESPACE")
    if wide:
        columns += ["METRICS", "IMAGE", "RUN DIRECTORY"]
    for column in columns:
        least = _WIDTHS.get(column) if steady else None
        table.add_column(column, min_width=least, overflow="fold", no_wrap=column in _WIDTHS and column != "NAME")
    for job in shown:
        table.add_row(*_row(job, now, namespaces=namespaces, wide=wide))
    return table


def _row(job: TrainJob, now: datetime, *, namespaces: bool, wide: bool) -> list[str | Text]:
    status = job.status
    step = status.progress.step if status.progress else None
    row: list[str | Text] = [job.namespace] if namespaces else []
    row += [
        Text(job.name),
        text.phase(job),
        text.workers(status.workers, job.spec.workers.count),
        "" if step is None else str(step),
        "" if status.checkpoint is None else str(status.checkpoint.index),
        str(status.restarts),
        text.age(job.metadata.creation_timestamp, now),
    ]
    if wide:
        told = (status.result and status.result.metrics) or (status.progress and status.progress.metrics) or {}
        row += [Text(text.metrics(told, limit=4)), Text(job.spec.image), Text(run_directory(job))]
    return row
