"""What is new about a job since the last look, in lines for the terminal of whoever called `fit()`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from paceline.api import FailureRecord, TrainJob
from paceline.client import text
from paceline.client.advice import advice, trouble

# Steps alone are told this often; every change of another kind at once.
STEP_EVERY_S = 10.0
# A running operator looks at a new job within a second.
UNSEEN_S = 15.0


@dataclass(frozen=True, slots=True)
class Told:
    """What has been said so far.

    Attributes:
        begun_at: When the job was seen first, in seconds of any clock that does not go back.
        step_at: When a step was told last.
    """

    begun_at: float
    phase: str = ""
    attempt: int = 0
    step: int | None = None
    step_at: float = float("-inf")
    checkpoint: int | None = None
    trouble: tuple[str, str, str] | None = None
    unseen: bool = False


def news(job: TrainJob, told: Told, now_s: float, *, steps: bool = True) -> tuple[list[str], Told]:
    """Return the lines to print, and what has been told then.

    Args:
        job: As it is now.
        told: What has been said before.
        now_s: Of the clock of `Told.begun_at`.
        steps: Steps and checkpoints too. False: something else shows them.
    """
    status = job.status
    lines: list[str] = []
    if not status.conditions and not told.unseen and now_s - told.begun_at > UNSEEN_S:
        told = replace(told, unseen=True)
        lines.append(
            f"no operator has looked at this job yet: does it run, and does it watch namespace {job.namespace!r}?"
        )
    if status.attempt != told.attempt and not status.finished:
        lines += _restart(job)
        told = replace(told, attempt=status.attempt, phase="")
    if status.phase != told.phase and not status.finished:
        if status.conditions:
            lines.append(f"{status.phase}, workers {text.workers(status.workers, job.spec.workers.count)}")
        told = replace(told, phase=status.phase)
    found = trouble(job)
    if found != told.trouble:
        if found is not None:
            _, reason, message = found
            lines += [f"{reason}: {message}", f"  -> {advice(reason, job, 'paceline')}"]
        told = replace(told, trouble=found)
    progressed = list(_progress(job, told, now_s)) if steps else []
    if progressed:
        lines.append(", ".join(progressed))
        told = replace(told, step=_step(job), step_at=now_s, checkpoint=_checkpoint(job))
    return lines, told


def _restart(job: TrainJob) -> Iterator[str]:
    last = job.status.history[-1] if job.status.history else None
    if last is not None:
        yield f"attempt {last.attempt} ended: {_cause(last)}"
    resumed = "the start" if last is None or last.resumed_from is None else f"checkpoint {last.resumed_from}"
    yield f"attempt {job.status.attempt} goes on from {resumed} ({job.status.restarts} restarts)"


def _cause(record: FailureRecord) -> str:
    who = "" if record.rank is None else f" rank {record.rank}"
    where = f" on {record.node}" if record.node else ""
    lines = record.message.strip().splitlines()
    return f"{record.cause}{who}{where}" + (f": {lines[-1]}" if lines else "")


def _progress(job: TrainJob, told: Told, now_s: float) -> Iterator[str]:
    step, checkpoint = _step(job), _checkpoint(job)
    new_checkpoint = checkpoint is not None and checkpoint != told.checkpoint
    due = job.status.finished or now_s - told.step_at >= STEP_EVERY_S
    if not new_checkpoint and (step is None or step == told.step or not due):
        return
    progress = job.status.progress
    if progress is not None and step is not None:
        yield " ".join(filter(None, [f"step {step}", text.metrics(progress.metrics, limit=4)]))
    if new_checkpoint:
        yield f"checkpoint {text.checkpoint(job.status.checkpoint)}"


def _step(job: TrainJob) -> int | None:
    return job.status.progress.step if job.status.progress else None


def _checkpoint(job: TrainJob) -> int | None:
    return job.status.checkpoint.index if job.status.checkpoint else None
