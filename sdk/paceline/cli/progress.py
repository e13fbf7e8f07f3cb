"""The state of a job on one line, for `paceline wait`; a sentence at its end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from paceline.api import TrainJob
from paceline.cli import text
from paceline.cli.description import failure
from paceline.cli.verdict import Verdict
from paceline.client.advice import advice, trouble

# Where lines are kept (a CI log), a step alone is told this often; every change of another kind at once.
STEP_LINE_S = 15.0


def line(job: TrainJob) -> Text:
    """Return where the job is, without times: equal lines mean that nothing has changed."""
    told = Text.assemble((f"{job.name}  "), text.phase(job))
    for part in _parts(job):
        told.append(f"  {part}")
    return told


def milestone(job: TrainJob) -> tuple[object, ...]:
    """Return what is worth a line of its own at once: all but steps and metrics."""
    status = job.status
    checkpoint = status.checkpoint.index if status.checkpoint else None
    return status.phase, status.attempt, status.restarts, status.workers.ready, checkpoint, trouble(job)


def live(job: TrainJob, now: datetime, program: str) -> RenderableType:
    """Return the same for a terminal, with the time that has passed and what hinders the job."""
    told = line(job)
    told.append(f"  {text.age(job.status.start_time or job.metadata.creation_timestamp, now)}", style="dim")
    found = trouble(job)
    if not found:
        return told
    _, reason, message = found
    hint = Text(f"  {reason}: {message}", style="yellow")
    if todo := advice(reason, job, program):
        hint.append(f"\n  -> {todo}")
    return Group(told, hint)


def ending(job: TrainJob, verdict: Verdict, program: str) -> RenderableType:
    """Return what is said when the wait is over."""
    parts: list[RenderableType] = [Text(verdict.message, style="green" if verdict.exit_code == 0 else "red")]
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    result = job.status.result
    if result and result.metrics:
        grid.add_row("  metrics", Text(text.metrics(result.metrics)))
    if job.status.checkpoint and job.status.finished:
        grid.add_row("  checkpoint", Text(f"{text.checkpoint(job.status.checkpoint)} {job.status.checkpoint.path}"))
    if result and result.path:
        grid.add_row("  files", Text(result.path))
    if result and result.error:
        grid.add_row("  error", failure(result.error))
    failed = job.status.condition("Failed")
    if failed and failed.status == "True" and (todo := advice(failed.reason, job, program)):
        grid.add_row("  what to do", Text(todo))
    return Group(*parts, grid) if grid.row_count else Group(*parts)


def hindrance(job: TrainJob) -> str:
    """Return in a sentence why the job does not run; empty when nothing hinders it."""
    found = trouble(job)
    return f"{found[1]}: {found[2]}" if found else ""


def _parts(job: TrainJob) -> Iterator[str]:
    status = job.status
    yield f"workers {text.workers(status.workers, job.spec.workers.count)}"
    if status.attempt:
        yield f"attempt {status.attempt} ({status.restarts} restarts)"
    if status.progress and status.progress.step is not None:
        yield f"step {status.progress.step}"
    if status.progress and (told := text.metrics(status.progress.metrics, limit=3)):
        yield told
    if status.checkpoint:
        yield f"checkpoint {status.checkpoint.index}"
