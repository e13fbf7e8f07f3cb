"""A history that breaks something, made as small as it can be while it still does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.history import End, History, JobPlan

Breaks = Callable[[History], bool]


def shrink(history: History, breaks: Breaks, *, seconds: float = 20.0) -> History:
    """Take away and simplify until nothing more can go, or the time is up."""
    until = time.monotonic() + seconds
    again = True
    while again:
        again = False
        for smaller in _smaller(history):
            if time.monotonic() > until:
                return history
            if smaller != history and breaks(smaller):
                history, again = smaller, True
                break
    return history


def _smaller(history: History) -> Iterator[History]:
    """Yield histories with less in them, those that lose most first."""
    for half in (history.faults[: len(history.faults) // 2], history.faults[len(history.faults) // 2 :]):
        if half != history.faults:
            yield replace(history, faults=half)
    for index, job in enumerate(history.jobs):
        if len(history.jobs) > 1:
            others = (*history.jobs[:index], *history.jobs[index + 1 :])
            yield replace(history, jobs=others, faults=tuple(f for f in history.faults if f.on != job.name))
    for index in range(len(history.faults)):
        yield replace(history, faults=(*history.faults[:index], *history.faults[index + 1 :]))
    for index in range(len(history.writes)):
        yield replace(history, writes=(*history.writes[:index], *history.writes[index + 1 :]))
    for index, job in enumerate(history.jobs):
        for simpler in _simpler(job):
            yield replace(history, jobs=(*history.jobs[:index], simpler, *history.jobs[index + 1 :]))
    plain = History()
    for field in ("skew", "gang", "lag", "seed"):
        if getattr(history, field) != getattr(plain, field):
            yield replace(history, **{field: getattr(plain, field)})
    if history.nodes > 1:
        yield replace(history, nodes=1, slots=history.slots * history.nodes)
    for index, fault in enumerate(history.faults):
        for value in ({"at": float(round(fault.at))}, {"n": 1}, {"s": float(int(fault.s / 2))}):
            simpler_fault = replace(fault, **value)
            if simpler_fault != fault:
                yield replace(history, faults=(*history.faults[:index], simpler_fault, *history.faults[index + 1 :]))


def _simpler(job: JobPlan) -> Iterator[JobPlan]:
    plain = JobPlan(job.name)
    if job.ends:
        yield replace(job, ends=job.ends[:-1])
        yield replace(job, ends=tuple(End(end.kind, 0, 2.0) if end.kind != "ok" else end for end in job.ends))
    if job.pods > 1:
        yield replace(job, pods=job.pods - 1)
    for field in (
        "per_pod",
        "at",
        "deadline",
        "ttl",
        "clean",
        "rule",
        "reports",
        "invalid",
        "preemptions",
        "restarts",
        "initial",
        "max",
        "runs",
        "spread",
        "gang",
        "timeout",
        "start",
    ):
        if getattr(job, field) != getattr(plain, field):
            yield replace(job, **{field: getattr(plain, field)})
