from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from paceline.api import CheckpointStatus, FailureRecord, Progress, TrainJob, TrainJobStatus
from paceline_operator.planning import Plan, plan
from paceline_operator.planning.planner import _duration
from paceline_operator.policies.config import JobDefaults
from paceline_operator.policies.observed import AgentReport, Observed, Refusal, Straggler
from tests.support.pods import T0, all_running, at, pod, seen, termination
from tests.support.trainjobs import TrainJobBuilder, make_trainjob

CONFIG = JobDefaults()
CHECKPOINT = CheckpointStatus(path="s3://b/digits/checkpoint_000004", index=4, step=40)


def two(**status: Any) -> TrainJobBuilder:
    job = make_trainjob().workers(2).storage("s3://b")
    if status:
        job._status = TrainJobStatus(**status)
    return job


def decide(job: TrainJob | TrainJobBuilder, observed: Observed, seconds: float = 0) -> Plan:
    return plan(job if isinstance(job, TrainJob) else _with_status(job), observed, at(seconds), CONFIG)


def _with_status(builder: TrainJobBuilder) -> TrainJob:
    status, builder._status = builder._status, None
    job = builder.obj()
    return job.model_copy(update={"status": status}) if status else job


def condition(status: TrainJobStatus | None, type: str) -> tuple[str, str]:
    assert status is not None
    found = status.condition(type)
    assert found is not None
    return found.status, found.reason


RUNNING = {"phase": "Running", "start_time": T0, "running_time": T0}


# --- the beginning -----------------------------------------------------------------------------


def test_a_new_job_gets_its_service_and_all_pods_and_says_so_once() -> None:
    first = decide(two(), seen(last_write=T0))
    assert (first.service, first.attempt, first.create) == (True, 0, (0, 1))
    assert first.events == ()
    assert first.status is None
    assert first.unwritten
    again = decide(two(), seen(pod(0), service=True, last_write=T0))
    assert (again.service, again.create, again.events) == (False, (1,), ())


def test_one_pod_is_told_in_the_singular() -> None:
    (note,) = decide(make_trainjob(), seen(pod(0).running(), service=True, last_write=T0)).events
    assert note.message.startswith("The worker runs in 1 pod, 0 s")


def test_a_job_that_can_never_work_fails_before_anything_is_created() -> None:
    failed = decide(two().accelerator("A100"), seen())
    assert failed.status is not None
    assert failed.status.phase == "Failed"
    assert condition(failed.status, "Failed") == ("True", "InvalidSpec")
    assert (failed.create, failed.service) == ((), False)
    assert failed.events[0].type == "Warning"
    assert "A100" in failed.events[0].message


def test_a_job_that_is_being_deleted_is_left_alone() -> None:
    assert decide(two().deleted().obj(), seen(*all_running(1))) == Plan()


@pytest.mark.parametrize(
    ("pods", "phase", "scheduled", "running"),
    [
        pytest.param([pod(0), pod(1)], "Scheduling", "WaitingForNodes", "WaitingForWorkers", id="no nodes"),
        pytest.param(
            [pod(0).running(), pod(1).on("n2")], "Starting", "AllWorkersScheduled", "WaitingForWorkers", id="one runs"
        ),
        pytest.param(all_running(2), "Running", "AllWorkersScheduled", "AllWorkersRunning", id="all run"),
        pytest.param(
            [pod(0).succeeded(), pod(1).running()],
            "Running",
            "AllWorkersScheduled",
            "AllWorkersRunning",
            id="one has ended well",
        ),
    ],
)
def test_phases_on_the_way_to_running(pods: list[Any], phase: str, scheduled: str, running: str) -> None:
    first = decide(two(), seen(*pods, service=True, last_write=T0))
    assert first.unwritten == (phase != "Running")
    again = seen(*pods, service=True, last_write=T0, changed_since=T0, waiting=first.waiting, moved_at=T0)
    later = decide(two(), again, 6)
    assert later.status is not None
    assert later.status.phase == phase
    assert condition(later.status, "Scheduled")[1] == scheduled
    assert condition(later.status, "Running")[1] == running
    assert later.status.start_time == T0
    assert later.status.running_time == (at(6) if phase == "Running" else None)


def test_a_quick_start_is_one_event_and_a_slow_one_has_told_its_story_already() -> None:
    quick = decide(two(), seen(*all_running(2), service=True, last_write=T0), 3)
    assert [(note.reason, note.message) for note in quick.events] == [
        ("Running", "All 2 workers run in 2 pods, 3 s after their creation")
    ]
    starting = [pod(0).running(), pod(1).on("n2")]
    first = decide(two(), seen(*starting, service=True, last_write=T0))
    waited = seen(*starting, service=True, last_write=T0, changed_since=T0, waiting=first.waiting, moved_at=T0)
    slow = decide(two(), waited, 6).status
    assert slow is not None
    job = two().obj().model_copy(update={"status": slow})
    run = plan(job, seen(*all_running(2), service=True, last_write=at(6)), at(9), CONFIG)
    assert run.status is not None
    assert (run.status.phase, run.events) == ("Running", ())


def test_what_is_on_record_is_not_written_again() -> None:
    observed = seen(*all_running(2), service=True, last_write=T0)
    written = decide(two(), observed).status
    assert written is not None
    job = two().obj().model_copy(update={"status": written})
    assert plan(job, observed, at(600), CONFIG) == Plan()


def test_a_problem_is_told_once_in_status_and_event() -> None:
    waiting = seen(pod(0).unschedulable("no GPU"), pod(1), service=True, last_write=T0)
    told = decide(two(), waiting)
    assert condition(told.status, "Scheduled") == ("False", "Unschedulable")
    assert [note.reason for note in told.events] == ["Unschedulable"]
    assert told.status is not None
    job = two().obj().model_copy(update={"status": told.status})
    assert plan(job, waiting, at(600), CONFIG).events == ()


def test_a_problem_of_a_node_is_in_running() -> None:
    told = decide(two(), seen(pod(0).waiting("ErrImagePull", "x"), pod(1).running(), service=True, last_write=T0))
    assert condition(told.status, "Running") == ("False", "ImagePullFailed")


def test_a_hanging_pod_is_looked_at_when_patience_is_over() -> None:
    pods = [pod(0).on("n1"), pod(1).running()]
    early = decide(two(), seen(*pods, service=True, last_write=T0, changed_since=at(3)), 4)
    assert (early.inspect, early.requeue_after) == ((), timedelta(seconds=5))
    late = decide(two(), seen(*pods, service=True, last_write=T0), 10)
    assert late.inspect == ("digits-0-0",)


def test_a_start_timeout_shorter_than_patience_reads_the_pods_events_before_it_ends_the_attempt() -> None:
    job = two().failure_policy(startTimeoutSeconds=3, maxRestarts=-1)
    hangs = [pod(0).running(), pod(1).on("n2")]
    asks = decide(job, seen(*hangs, service=True, last_write=T0), 3)
    assert asks == Plan(inspect=("digits-0-1",), requeue_after=timedelta(0))
    told = {"digits-0-1": 'FailedMount: configmap "late" not found'}
    ended = decide(job, seen(*hangs, service=True, last_write=T0, warnings=told), 3)
    assert ended.status is not None
    assert ended.status.history[0].cause == "StartTimeout"
    assert 'configmap "late" not found' in ended.status.history[0].message


def test_an_image_name_that_can_never_be_ends_the_job() -> None:
    failed = decide(two(), seen(pod(0).waiting("InvalidImageName", "bad"), pod(1), service=True))
    assert failed.status is not None
    assert failed.status.phase == "Failed"
    assert {gone.name for gone in failed.delete} == {"digits-0-0", "digits-0-1"}


def test_refused_pods_are_tried_again() -> None:
    refusal = Refusal("digits-0-0", 403, "Forbidden", "exceeded quota")
    told = decide(two(), seen(service=True, refusals=(refusal,), last_write=T0))
    assert told.create == (0, 1)
    assert told.requeue_after == timedelta(seconds=5)
    assert condition(told.status, "Scheduled") == ("False", "QuotaExceeded")


def test_an_old_view_of_the_job_is_read_anew() -> None:
    assert decide(two(), seen(pod(0, attempt=1))) == Plan(refresh=True)


# --- what the agent tells ----------------------------------------------------------------------


def test_progress_and_checkpoint_are_taken_from_the_lead() -> None:
    report = AgentReport(progress=Progress(step=42), checkpoint=CHECKPOINT, best_checkpoint=CHECKPOINT)
    told = decide(two(**RUNNING), seen(*all_running(2), service=True, report=report))
    assert told.status is not None
    assert told.status.progress == Progress(step=42)
    assert (told.status.checkpoint, told.status.best_checkpoint) == (CHECKPOINT, CHECKPOINT)
    assert condition(told.status, "CheckpointAvailable") == ("True", "CheckpointCommitted")


def test_a_restarted_lead_corrects_where_it_resumed() -> None:
    record = FailureRecord(attempt=0, time=T0, cause="WorkerFailed", resumed_from=4, lost_steps=10, downtime_seconds=1)
    status = {**RUNNING, "attempt": 1, "restarts": 1, "checkpoint": CHECKPOINT, "history": [record]}
    report = AgentReport(resumed_index=5, resumed_step=45)
    told = decide(two(**status), seen(*all_running(2, attempt=1), service=True, report=report, changed_since=T0), 60)
    assert told.status is not None
    assert (told.status.history[0].resumed_from, told.status.history[0].lost_steps) == (5, 5)
    same = AgentReport(resumed_index=4, resumed_step=40)
    quiet = decide(two(**status), seen(*all_running(2, attempt=1), service=True, report=same, changed_since=T0), 60)
    assert quiet.status is not None
    assert quiet.status.history == [record]


def test_lost_steps_that_are_not_known_stay_so() -> None:
    record = FailureRecord(attempt=0, time=T0, cause="PodDeleted", downtime_seconds=1)
    report = AgentReport(resumed_index=0)
    observed = seen(*all_running(2, attempt=1), service=True, report=report, changed_since=T0)
    told = decide(two(**RUNNING, attempt=1, history=[record]), observed, 60)
    assert told.status is not None
    assert (told.status.history[0].resumed_from, told.status.history[0].lost_steps) == (0, None)


# --- the end -----------------------------------------------------------------------------------


def test_success_takes_the_result_from_the_leads_last_word() -> None:
    message = {
        "version": 1,
        "outcome": "succeeded",
        "progress": {"step": 50, "metrics": {"accuracy": 0.97}},
        "checkpoint": {"path": CHECKPOINT.path, "index": 4},
    }
    over = decide(two(**RUNNING, restarts=1), seen(pod(0).succeeded(message), pod(1).succeeded()), 90)
    assert over.status is not None
    assert over.status.phase == "Succeeded"
    assert over.status.result is not None
    assert over.status.result.path == "s3://b/digits"
    assert over.status.result.metrics == {"accuracy": 0.97}
    assert over.status.workers.succeeded == 2
    assert over.status.completion_time == at(90)
    assert over.delete == ()
    expected = f"All 2 workers succeeded in 1 min 30 s, 1 restarts; latest checkpoint {CHECKPOINT.path}"
    assert over.events[0].message == expected


def test_success_that_was_never_seen_running_has_times() -> None:
    over = decide(two(), seen(pod(0).succeeded(), pod(1).succeeded().with_(created=None)), 5)
    assert over.status is not None
    assert over.status.start_time == over.status.running_time == T0
    timeless = decide(make_trainjob(), seen(pod(0).succeeded().with_(created=None)), 5)
    assert timeless.events[0].message == "All 1 workers succeeded"
    assert timeless.status is not None
    assert timeless.status.result is not None
    assert timeless.status.result.path is None


def test_a_finished_job_is_cleaned_up_once_and_deleted_after_its_time() -> None:
    job = two(phase="Succeeded", completion_time=T0).ttl(60)
    sidecar = pod(1).running().with_(running=False, exit_code=0)
    tidy = decide(job, seen(pod(0).succeeded(), sidecar))
    assert [gone.name for gone in tidy.delete] == ["digits-0-1"]
    assert tidy.requeue_after == timedelta(seconds=60)
    job = two(phase="Succeeded", completion_time=T0).ttl(60)
    assert decide(job, seen(), 60).delete_job
    settled = decide(two(phase="Failed", completion_time=T0), seen(pod(0).failed(1)))
    assert settled == Plan()
    assert settled.idle


def test_clean_all_takes_the_service_too() -> None:
    job = two(phase="Succeeded", completion_time=T0).clean_pod_policy("All")
    everything = decide(job, seen(pod(0).succeeded(), service=True))
    assert everything.delete_service
    assert len(everything.delete) == 1
    assert not everything.idle


def test_the_deadline_ends_the_job_and_counts_no_suspended_time() -> None:
    within = decide(two(**RUNNING).deadline(60), seen(*all_running(2), service=True, changed_since=T0), 20)
    assert within.requeue_after == timedelta(seconds=40)
    over = decide(two(**RUNNING).deadline(60), seen(*all_running(2), service=True), 60)
    assert condition(over.status, "Failed") == ("True", "DeadlineExceeded")
    assert len(over.delete) == 2
    longer = decide(two(**RUNNING, suspended_seconds=30).deadline(60), seen(*all_running(2), service=True), 60)
    assert longer.status is None or longer.status.phase == "Running"


# --- failures ----------------------------------------------------------------------------------


def test_one_failure_restarts_the_whole_group_at_once() -> None:
    told = {"rank": 1, "type": "ValueError", "message": "bad", "exitCode": 1}
    lost = seen(pod(0).running(), pod(1).failed(1, message=termination(failure=told)), service=True)
    status = {**RUNNING, "checkpoint": CHECKPOINT, "progress": Progress(step=55)}
    again = decide(two(**status), lost, 9)
    assert again.status is not None
    assert (again.status.phase, again.status.attempt, again.status.restarts) == ("Restarting", 1, 1)
    assert (again.attempt, again.create) == (1, (0, 1))
    assert [gone.name for gone in again.delete] == ["digits-0-0"]
    record = again.status.history[0]
    assert (record.cause, record.rank, record.pod, record.exit_code) == ("WorkerFailed", 1, "digits-0-1", 1)
    assert (record.resumed_from, record.lost_steps, record.message) == (4, 15, "ValueError: bad")
    assert again.events[0].message == (
        "worker 1 in pod digits-0-1 exited 1: ValueError: bad; restarting from "
        "s3://b/digits/checkpoint_000004 (restart 1 of 3)"
    )


def test_a_lost_node_is_counted_apart() -> None:
    gone = pod(1).running("node-7").deleting().with_(disruption="DeletionByTaintManager")
    again = decide(two(**RUNNING, preemptions=4), seen(pod(0).running(), gone, service=True), 9)
    assert again.status is not None
    assert (again.status.phase, again.status.attempt) == ("Restarting", 1)
    assert (again.status.restarts, again.status.preemptions) == (0, 5)
    assert again.status.history[-1].counted_as == "preemption"
    assert again.events[0].message.endswith("lost with node node-7; restarting from the start (preemption 5)")


def test_a_restart_that_a_rule_does_not_count_is_told_with_the_rule() -> None:
    job = two(**RUNNING).failure_policy(maxRestarts=0, rules=[{"exitCodes": [7], "action": "RestartUncounted"}])
    again = decide(job, seen(pod(0).running(), pod(1).failed(7), service=True), 9)
    assert again.status is not None
    assert (again.status.attempt, again.status.restarts, again.status.preemptions) == (1, 0, 0)
    assert again.status.history[-1].counted_as == "uncounted"
    assert again.events[0].message.endswith("(not counted, by failurePolicy.rules[0])")


def test_a_rule_that_never_decides_is_told_once() -> None:
    rules = [{"exitCodes": [2, 3], "action": "Fail"}, {"exitCodes": [3], "action": "Restart"}]
    job = two().failure_policy(rules=rules)
    running = seen(*all_running(2), service=True)
    first = decide(job, running, 60)
    assert ("Warning", "RuleShadowed") in [(note.type, note.reason) for note in first.events]
    assert first.status is not None
    known = two().failure_policy(rules=rules)
    known._status = first.status
    gone = seen(pod(0).running(), pod(1).failed(1), service=True)
    later = decide(known, gone, 90)
    assert [note.reason for note in later.events] == ["WorkerFailed"]


def test_a_crash_in_a_row_waits() -> None:
    record = FailureRecord(attempt=0, time=at(1), cause="WorkerFailed")
    job = two(phase="Starting", attempt=1, restarts=1, start_time=T0, history=[record]).max_restarts(-1)
    again = decide(job, seen(pod(0, 1).failed(1), pod(1, 1).running(), service=True), 3)
    assert again.status is not None
    assert again.create == ()
    assert again.requeue_after == timedelta(seconds=1)
    assert again.status.next_attempt_time == at(4)
    assert condition(again.status, "Running") == ("False", "Backoff")
    assert again.events[0].message.endswith("restarting after 1 s from the start (restart 2)")
    assert [record.counted_as for record in again.status.history] == [None, "restart"]


def test_during_backoff_nothing_is_created_and_then_all() -> None:
    status = {"phase": "Restarting", "attempt": 1, "restarts": 1, "start_time": T0, "next_attempt_time": at(10)}
    waiting = decide(two(**status), seen(pod(0).running(), service=True), 4)
    assert waiting.create == ()
    assert waiting.requeue_after == timedelta(seconds=6)
    assert [gone.name for gone in waiting.delete] == ["digits-0-0"]
    go = decide(two(**status), seen(service=True, last_write=at(0), changed_since=at(10)), 10)
    assert go.create == (0, 1)


def test_pods_that_were_never_complete_are_created_again_and_complete_ones_are_lost() -> None:
    status = {"phase": "Restarting", "attempt": 1, "restarts": 1, "start_time": T0}
    crashed = decide(two(**status), seen(pod(0, 1), service=True, last_write=T0))
    assert crashed.create == (1,)
    lost = decide(two(**status), seen(pod(0, 1), service=True, complete=True))
    assert lost.status is not None
    assert lost.status.history[0].cause == "PodDeleted"
    on_record = decide(two(**RUNNING), seen(pod(0).running(), service=True))
    assert on_record.status is not None
    assert on_record.status.attempt == 1


def test_spent_restarts_fail_the_job_with_the_first_error() -> None:
    told = {"rank": 1, "type": "ValueError", "message": "bad", "traceback": "tb"}
    lost = seen(pod(0).running(), pod(1).failed(1, message=termination(failure=told)), service=True)
    over = decide(two(**RUNNING).max_restarts(0), lost, 9)
    assert condition(over.status, "Failed") == ("True", "MaxRestartsReached")
    assert over.status is not None
    assert over.status.result is not None
    assert over.status.result.error is not None
    assert (over.status.result.error.rank, over.status.result.error.traceback) == (1, "tb")
    assert [record.counted_as for record in over.status.history] == [None]
    assert [gone.name for gone in over.delete] == ["digits-0-0"]


def test_running_again_ends_the_downtime_and_is_told() -> None:
    record = FailureRecord(attempt=0, time=T0, cause="PodDeleted", resumed_from=4)
    job = two(phase="Restarting", attempt=1, restarts=1, start_time=T0, history=[record])
    up = decide(job, seen(*all_running(2, attempt=1), service=True), 4.2)
    assert up.status is not None
    assert up.status.history[0].downtime_seconds == 4.2
    expected = "All 2 workers run again, 4.2 s after the failure; resumed from checkpoint 4"
    assert up.events[0].message == expected


def test_running_after_a_resume_has_no_downtime_to_tell() -> None:
    up = decide(two(phase="Pending", attempt=1, start_time=T0), seen(*all_running(2, attempt=1), service=True))
    assert up.events[0].message == "All 2 workers run again"


# --- suspension --------------------------------------------------------------------------------


def test_suspend_stops_the_pods_and_says_so_once() -> None:
    observed = seen(pod(0).running(), pod(1).running().deleting(), service=True)
    stopped = decide(two(**RUNNING).suspended(), observed, 9)
    assert stopped.status is not None
    assert stopped.status.phase == "Suspended"
    assert condition(stopped.status, "Suspended") == ("True", "SuspendedByUser")
    assert [gone.name for gone in stopped.delete] == ["digits-0-0"]
    assert stopped.events[0].message == "spec.suspend is true: 1 pods are stopped"
    again = decide(two().suspended().obj().model_copy(update={"status": stopped.status}), seen(), 99)
    assert again == Plan()


def test_a_job_born_suspended_creates_nothing() -> None:
    born = decide(two().suspended(), seen())
    assert born.status is not None
    assert (born.status.phase, born.create, born.service) == ("Suspended", (), False)
    assert born.events[0].message == "spec.suspend is true"


def test_resume_goes_on_as_a_new_attempt_that_costs_no_restart() -> None:
    suspended = decide(two(**RUNNING, checkpoint=CHECKPOINT).suspended(), seen(), 10).status
    assert suspended is not None
    job = two().obj().model_copy(update={"status": suspended})
    resumed = plan(job, seen(pod(0).running().deleting()), at(25), CONFIG)
    assert resumed.status is not None
    assert (resumed.status.attempt, resumed.status.restarts, resumed.status.suspended_seconds) == (1, 0, 15)
    assert resumed.create == (0, 1)
    assert resumed.events[0].message == f"Going on as attempt 1 from checkpoint {CHECKPOINT.path}"
    fresh = decide(two(phase="Suspended"), seen(service=True))
    assert (fresh.attempt, fresh.service, fresh.events[0].message) == (0, False, "Going on as attempt 0")


def test_the_deadline_does_not_run_while_suspended() -> None:
    job = two(phase="Suspended", start_time=T0).deadline(60).suspended()
    assert decide(job, seen(), 600).status is None or decide(job, seen(), 600).delete == ()
    resumed = decide(two(phase="Suspended", start_time=T0).deadline(60), seen(), 600)
    assert resumed.create == (0, 1)


# --- details -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (7, "7 s"), (67, "1 min 7 s"), (3600, "1 h 0 s"), (3725, "1 h 2 min")]
)
def test_durations_are_short(seconds: int, text: str) -> None:
    assert _duration(timedelta(seconds=seconds)) == text


def test_options_of_a_uri_stay_behind_the_run_directory() -> None:
    job = two().storage("s3://b/p?region=eu", name="run")
    over = decide(job, seen(pod(0).succeeded(), pod(1).succeeded()))
    assert over.status is not None
    assert over.status.result is not None
    assert over.status.result.path == "s3://b/p/run?region=eu"


def test_a_snapshot_is_a_value() -> None:
    assert replace(seen(), service=True) == seen(service=True)


# --- stragglers --------------------------------------------------------------------------------


def straggling(status: dict[str, Any] | TrainJobStatus, straggler: Straggler | None, seconds: float = 60) -> Plan:
    job = two(**status) if isinstance(status, dict) else two()
    if isinstance(status, TrainJobStatus):
        job._status = status
    report = AgentReport(straggler=straggler)
    # Written a second ago: what is worth a write now is news, and not a number.
    observed = seen(*all_running(2), service=True, report=report, last_write=at(seconds - 1))
    return decide(job, observed, seconds)


def test_a_straggler_is_told_when_it_falls_behind_and_when_it_has_caught_up() -> None:
    steady = decide(two(**RUNNING), seen(*all_running(2), service=True, changed_since=T0, moved_at=T0), 50)
    assert steady.status is not None
    begins = straggling(steady.status, Straggler(1, 2.5))
    assert condition(begins.status, "Straggling") == ("True", "WorkerBehind")
    assert [(note.type, note.reason) for note in begins.events] == [("Warning", "WorkerBehind")]
    assert begins.events[0].message.startswith("rank 1 in pod digits-0-1 on node node-1 reports 2.5 s after")
    assert begins.status is not None
    more = straggling(begins.status, Straggler(1, 7.1), 90)
    assert (more.status, more.unwritten, more.events) == (None, False, ())
    ends = straggling(begins.status, None, 120)
    assert condition(ends.status, "Straggling") == ("False", "CaughtUp")
    assert [(note.type, note.reason) for note in ends.events] == [("Normal", "CaughtUp")]
    assert ends.status is not None
    over = straggling(ends.status, None, 150)
    assert (over.status, over.events) == (None, ())


def test_a_restart_clears_the_straggler_without_a_word_of_its_own() -> None:
    begins = straggling(RUNNING, Straggler(1, 2.5))
    assert begins.status is not None
    job = two()
    job._status = begins.status
    again = decide(job, seen(pod(0).running(), pod(1).failed(1), service=True), 90)
    assert condition(again.status, "Straggling") == ("False", "Restarting")
    assert [note.reason for note in again.events] == ["WorkerFailed"]
    job._status = again.status
    later = decide(job, seen(*all_running(2, attempt=1), service=True, report=AgentReport(), changed_since=T0), 95)
    assert condition(later.status, "Straggling") == ("False", "Restarting")
    assert "CaughtUp" not in [note.reason for note in later.events]


def test_a_pod_that_is_not_shown_yet_is_not_missing() -> None:
    waits = decide(two(**RUNNING), seen(pod(0).running(), behind=True))
    assert (waits.status, waits.create, waits.requeue_after) == (None, (), timedelta(seconds=1))
    missing = decide(two(**RUNNING), seen(pod(0).running()))
    assert missing.status is not None
    assert missing.status.history[-1].cause == "PodDeleted"
    failed = decide(two(**RUNNING), seen(pod(0).failed(1), behind=True))
    assert failed.status is not None
    assert failed.status.history[-1].cause == "WorkerFailed", "what is shown is believed"


@pytest.mark.parametrize(
    ("policy", "service", "goes"), [("All", True, True), ("All", False, False), ("Running", True, False)]
)
def test_the_service_of_a_finished_job_goes_with_all_of_its_pods(policy: str, service: bool, goes: bool) -> None:
    over = two(phase="Succeeded", completionTime="2026-01-02T03:05:05Z").clean_pod_policy(policy)
    decided = decide(over, seen(service=service))
    assert decided.delete_service is goes
    assert not decided.service, "a Service that somebody deleted after the end is not made again"


def test_a_job_suspended_while_it_was_created_resumes_under_new_names() -> None:
    resumed = decide(two(phase="Suspended"), seen(pod(0).running().deleting()), 5)
    assert resumed.status is not None
    assert (resumed.status.attempt, resumed.create) == (1, (0, 1))
    assert resumed.status.start_time == T0
