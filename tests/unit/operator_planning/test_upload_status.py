"""`status.uploads`: what the lead tells of waiting checkpoints, and what is left of it when the agents are gone."""

from __future__ import annotations

from typing import Any

from paceline.api import Progress, TrainJob, TrainJobStatus, Uploads
from paceline_operator.planning import Plan, plan
from paceline_operator.policies.config import JobDefaults
from paceline_operator.policies.observed import AgentReport, Observed
from tests.support.pods import T0, all_running, at, pod, seen
from tests.support.trainjobs import make_trainjob

WAITING = Uploads(pending_checkpoints=2, pending_bytes=700, wait_seconds=1.5)


def job(*, suspended: bool = False, **status: Any) -> TrainJob:
    known = {"phase": "Running", "start_time": T0, "running_time": T0, **status}
    builder = make_trainjob().workers(2).storage("gs://b").suspended(suspended)
    return builder.obj().model_copy(update={"status": TrainJobStatus(**known)})


def decide(trainjob: TrainJob, observed: Observed, seconds: float = 60) -> Plan:
    return plan(trainjob, observed, at(seconds), JobDefaults())


def settled() -> TrainJob:
    """A running job whose status is on record as it should be."""
    report = AgentReport(progress=Progress(step=1), uploads=WAITING)
    written = decide(job(), seen(*all_running(2), service=True, report=report))
    assert written.status is not None
    return job().model_copy(update={"status": written.status})


def test_it_is_written_along_with_progress() -> None:
    assert settled().status.uploads == WAITING


def test_it_alone_is_no_reason_to_write() -> None:
    report = AgentReport(progress=Progress(step=1), uploads=Uploads(pending_bytes=1, wait_seconds=9))
    still = decide(settled(), seen(*all_running(2), service=True, report=report), 3600)
    assert (still.status, still.unwritten, still.requeue_after) == (None, False, None)


def test_with_the_next_step_the_newest_is_written() -> None:
    report = AgentReport(progress=Progress(step=2), uploads=Uploads(wait_seconds=9))
    later = decide(settled(), seen(*all_running(2), service=True, report=report), 3600)
    assert later.status is not None
    assert later.status.uploads == Uploads(wait_seconds=9)


def test_when_the_job_is_over_nothing_waits_and_what_it_cost_stays() -> None:
    over = decide(job(uploads=WAITING), seen(pod(0).succeeded(), pod(1).succeeded()))
    assert over.status is not None
    assert over.status.phase == "Succeeded"
    assert over.status.uploads == Uploads(wait_seconds=1.5)


def test_a_short_job_keeps_what_the_lead_told_while_it_lived() -> None:
    told = AgentReport(progress=Progress(step=1), uploads=WAITING)
    last = {"version": 1, "outcome": "succeeded", "progress": {"step": 9}}
    over = decide(job(), seen(pod(0).succeeded(last), pod(1).succeeded(), report=told))
    assert over.status is not None
    assert over.status.progress == Progress(step=9)
    assert over.status.uploads == Uploads(wait_seconds=1.5)


def test_a_job_without_storage_says_nothing_of_it() -> None:
    over = decide(job(), seen(pod(0).succeeded(), pod(1).succeeded()))
    assert over.status is not None
    assert "uploads" not in over.status.to_body()


def test_the_next_attempt_begins_with_nothing() -> None:
    again = decide(job(uploads=WAITING), seen(pod(0).running(), pod(1).failed(1), service=True))
    stopped = decide(job(uploads=WAITING, suspended=True), seen(*all_running(2), service=True))
    assert again.status is not None
    assert stopped.status is not None
    assert (again.status.phase, again.status.uploads) == ("Restarting", None)
    assert (stopped.status.phase, stopped.status.uploads) == ("Suspended", None)
