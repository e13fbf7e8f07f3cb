"""`wait`: follow a job's progress until it gets where the user waits for it."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from paceline.api import TrainJob
from paceline.cli import progress, verdict
from paceline.cli.session import Session, interruptible, now, say
from paceline.client.errors import WaitTimeoutError
from paceline.client.jobs import changes, gone


def wait_for(here: Session, name: str, goal: verdict.Goal, timeout_s: float | None) -> int:
    """Show progress until the wait is over; return the exit code.

    Raises:
        WaitTimeoutError: It took longer than `timeout_s`.
        NotFoundError: The job is not there, or was deleted meanwhile.
    """
    first = here.job(name)
    with interruptible(here, f"stopped waiting; {name} goes on: {here.program} wait {name}"):
        with Screen(here.out, here.program) as screen:
            for job in changes(here.cluster, first, timeout_s):
                if job.uid != first.uid:
                    raise gone(name)
                screen.show(job)
                if reached := verdict.decide(job, goal):
                    break
            else:
                raise WaitTimeoutError(_late(job, goal, timeout_s))
        here.out.print(progress.ending(job, reached, here.program))
        return reached.exit_code


def _late(job: TrainJob, goal: verdict.Goal, timeout_s: float | None) -> str:
    told = f"{job.name} is {job.status.phase} after {timeout_s:g} s, not yet {goal.value}"
    hindered = progress.hindrance(job)
    return f"{told}; {hindered}" if hindered else f"{told}; it goes on without us"


class Screen:
    """One line that changes on a terminal; elsewhere a line for each change that matters."""

    def __init__(self, out: Console, program: str) -> None:
        self._out = out
        self._program = program
        self._job: TrainJob | None = None
        self._milestone: object = None
        self._line: Text | None = None
        self._told_at = 0.0
        self._live: AbstractContextManager[object] = (
            Live(console=out, get_renderable=self._render, refresh_per_second=4, transient=True)
            if out.is_terminal
            else nullcontext()
        )

    def __enter__(self) -> Screen:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, job: TrainJob) -> None:
        """Show the job as it is now."""
        before, self._job = self._job, job
        if self._out.is_terminal:
            # What will not be said again stays on the screen above the line.
            if before and before.status.attempt != job.status.attempt and job.status.history:
                last = job.status.history[-1]
                say(self._out, f"{clock(now())}  attempt {last.attempt} ended: {last.cause} {last.message}", "yellow")
            return
        line, milestone = progress.line(job), progress.milestone(job)
        due = time.monotonic() - self._told_at >= progress.STEP_LINE_S
        if milestone != self._milestone or (due and line != self._line):
            hindered = progress.hindrance(job)
            say(self._out, f"{clock(now())}  {line.plain}" + (f"  {hindered}" if hindered else ""))
            self._milestone, self._line, self._told_at = milestone, line, time.monotonic()

    def _render(self) -> RenderableType:
        return progress.live(self._job, now(), self._program) if self._job else Text()


def clock(time: datetime) -> str:
    """Return the time of day where the user is."""
    return time.astimezone().strftime("%H:%M:%S")
