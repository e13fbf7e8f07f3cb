"""`wait`: follow a job's progress until it gets where the user waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from paceline.api import TrainJob
from paceline.cli import progress, verdict
from paceline.cli.errors import CliError, ClusterError, WaitTimeoutError
from paceline.cli.session import Session, gone, interruptible, now, parse, say

# An API server that restarts is back within this; a cluster that is gone does not hold the user for longer.
UNREACHABLE_S = 60.0
PAUSE_S = 1.0
LOOK_S = 10.0


def wait_for(here: Session, name: str, goal: verdict.Goal, timeout_s: float | None) -> int:
    """Show progress until the wait is over; return the exit code.

    Raises:
        WaitTimeoutError: It took longer than `timeout_s`.
        NotFoundError: The job is not there, or was deleted meanwhile.
    """
    first = here.job(name)
    with interruptible(here, f"stopped waiting; {name} goes on: {here.program} wait {name}"):
        with Screen(here.out, here.program) as screen:
            for job in changes(here, first, timeout_s):
                if job.uid != first.uid:
                    raise gone(name)
                screen.show(job)
                if reached := verdict.decide(job, goal):
                    break
            else:
                raise WaitTimeoutError(_late(job, goal, timeout_s))
        here.out.print(progress.ending(job, reached, here.program))
        return reached.exit_code


def changes(here: Session, job: TrainJob, timeout_s: float | None) -> Iterator[TrainJob]:
    """Yield the job now and after each change, until the time is over."""
    end = None if timeout_s is None else time.monotonic() + timeout_s
    lost_at: float | None = None
    version = job.metadata.resource_version
    yield job
    while (left := _left(end)) > 0:
        opened = time.monotonic()
        try:
            for event in here.cluster.watch(name=job.name, since=version, seconds=min(left, LOOK_S)):
                if event["type"] == "DELETED":
                    raise gone(job.name)
                yield parse(event["object"])
                if _left(end) <= 0:
                    return
            # A look between two watches: what a broken stream has not told is seen here.
            looked = here.job(job.name)
            version, lost_at = looked.metadata.resource_version, None
            yield looked
            # A server that ends watches at once is not asked in a tight loop.
            time.sleep(max(0.0, PAUSE_S - (time.monotonic() - opened)))
        except CliError as error:
            if not isinstance(error, ClusterError) or not error.retryable:
                raise
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > UNREACHABLE_S:
                raise
            time.sleep(PAUSE_S)


def _left(end: float | None) -> float:
    return LOOK_S if end is None else end - time.monotonic()


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
