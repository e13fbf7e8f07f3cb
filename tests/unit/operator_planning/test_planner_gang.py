"""What the planner makes of gangs: groups with their pods, sets that are freed, attempts that do not start."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from paceline.api import FailureRecord, TrainJob, TrainJobStatus
from paceline_operator.planning import Plan, plan
from paceline_operator.policies.config import JobDefaults
from paceline_operator.policies.observed import Observed
from tests.support.pods import T0, at, pod, seen
from tests.support.trainjobs import TrainJobBuilder, make_trainjob

CONFIG = JobDefaults()
ROOM = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
PART = [pod(0).running(), pod(1).unschedulable(ROOM)]


def two(status: TrainJobStatus | None = None, builder: TrainJobBuilder | None = None) -> TrainJob:
    job = (builder or make_trainjob().workers(2)).obj()
    return job.model_copy(update={"status": status}) if status else job


def decide(job: TrainJob, observed: Observed, seconds: float = 0) -> Plan:
    return plan(job, observed, at(seconds), CONFIG)


def condition(status: TrainJobStatus | None, type: str) -> tuple[str, str, str]:
    found = status.condition(type) if status else None
    assert found is not None
    return found.status, found.reason, found.message


def freed(seconds: float = 600, status: TrainJobStatus | None = None, **observed: Any) -> Plan:
    job = two(status)
    attempt = job.status.attempt
    pods = [pod(0, attempt).running(), pod(1, attempt).unschedulable(ROOM)]
    return decide(job, seen(*pods, service=True, complete=True, last_write=T0, **observed), seconds)


def test_pods_are_made_with_their_group_where_it_is_served() -> None:
    served = decide(two(), seen(pod_groups=True))
    assert (served.grouped, served.make_group, served.create) == (True, True, (0, 1))
    not_served = decide(two(), seen())
    assert (not_served.grouped, not_served.make_group, not_served.create) == (False, False, (0, 1))


def test_a_group_that_is_there_is_not_made_again() -> None:
    rest = decide(two(), seen(pod(0).with_(group="digits-0"), groups=("digits-0",), pod_groups=False))
    assert (rest.grouped, rest.make_group, rest.create) == (True, False, (1,))


def test_a_job_that_insists_on_what_is_not_served_waits_and_says_so() -> None:
    job = two(builder=make_trainjob().workers(2).scheduling(gang="PodGroup"))
    waiting = decide(job, seen(service=True, last_write=T0))
    assert (waiting.create, waiting.requeue_after) == ((), timedelta(seconds=30))
    assert condition(waiting.status, "Scheduled")[:2] == ("False", "GangUnavailable")
    assert [note.reason for note in waiting.events] == ["GangUnavailable"]
    assert decide(job, seen(service=True, last_write=T0, pod_groups=True)).create == (0, 1)


def test_groups_of_past_attempts_go_with_the_next_look_and_all_with_clean_all() -> None:
    running = TrainJobStatus(phase="Running", attempt=1, start_time=T0, running_time=T0)
    pods = [pod(0, 1).running(), pod(1, 1).running()]
    assert decide(two(running), seen(*pods, groups=("digits-0", "digits-1"))).delete_groups == ("digits-0",)
    over = TrainJobStatus(phase="Succeeded", attempt=1, completion_time=T0)
    kept = decide(two(over), seen(groups=("digits-1",)))
    assert (kept.delete_groups, kept.idle) == ((), True)
    clean = two(over, make_trainjob().workers(2).clean_pod_policy("All"))
    gone = decide(clean, seen(groups=("digits-1",)))
    assert (gone.delete_groups, gone.idle) == (("digits-1",), False)


def test_a_set_in_part_is_told_with_counts_and_looked_at_when_its_time_is_over() -> None:
    told = decide(two(), seen(*PART, service=True, last_write=T0), 30)
    assert condition(told.status, "Scheduled")[1] == "Unschedulable"
    assert condition(told.status, "Scheduled")[2].startswith(
        f"1 of 2 pods has a node; pod digits-0-1 finds no node: {ROOM}"
    )
    settled = decide(two(told.status), seen(*PART, service=True, last_write=T0, complete=True), 100)
    assert settled.requeue_after == timedelta(seconds=500)


def test_the_word_of_a_pod_that_lacks_something_goes_before_that_of_one_that_waits_for_it() -> None:
    waits = pod(0).unschedulable("waiting for minCount pods from a gang to be scheduled")
    told = decide(two(), seen(waits, pod(1).unschedulable(ROOM), service=True, last_write=T0), 30)
    assert "none of 2 pods has a node; pod digits-0-1 finds no node: 0/2" in condition(told.status, "Scheduled")[2]
    assert told.inspect_group == ""
    grouped = [waits.with_(group="digits-0"), pod(1).with_(group="digits-0")]
    assert decide(two(), seen(*grouped, service=True, last_write=T0), 30).inspect_group == "digits-0"
    early = decide(two(), seen(waits, pod(1), service=True, last_write=T0), 5)
    assert early.unwritten, "that a pod waits for the others is no news"


def test_a_set_in_part_is_freed_uncounted_and_comes_back_after_a_wait() -> None:
    plan_ = freed()
    assert plan_.status is not None
    assert (plan_.status.attempt, plan_.status.restarts, plan_.status.preemptions) == (1, 0, 0)
    assert (plan_.status.phase, plan_.create) == ("Restarting", ())
    assert {gone.name for gone in plan_.delete} == {"digits-0-0", "digits-0-1"}
    assert plan_.requeue_after is not None
    assert 15 <= plan_.requeue_after.total_seconds() < 45
    assert plan_.status.next_attempt_time == at(600) + plan_.requeue_after
    assert condition(plan_.status, "Scheduled")[1] == "Unschedulable"
    assert ROOM in condition(plan_.status, "Scheduled")[2]
    assert condition(plan_.status, "Running")[1] == "Backoff"
    (record,) = plan_.status.history
    assert (record.cause, record.pod, ROOM in record.message) == ("Unschedulable", "digits-0-1", True)
    (note,) = plan_.events
    assert (note.reason, note.message.endswith("from the start (not counted)")) == ("Unschedulable", True)
    assert freed() == plan_, "a look after a crash decides the same"


def test_freed_again_it_waits_longer_and_the_history_stays_short() -> None:
    status = TrainJobStatus(phase="Restarting", attempt=0)
    waits = []
    for attempt in range(30):
        status = status.model_copy(update={"attempt": attempt, "phase": "Scheduling", "next_attempt_time": None})
        plan_ = freed(status=status)
        assert plan_.status is not None
        assert plan_.requeue_after is not None
        waits.append(plan_.requeue_after.total_seconds())
        status = plan_.status
    assert len(status.history) == 1
    assert (status.history[0].times, status.history[0].attempt, status.restarts) == (30, 29, 0)
    assert max(waits[10:]) < 900
    assert min(waits[10:]) >= 300


def test_a_rule_may_count_a_freed_set_or_end_the_job() -> None:
    rules = [{"reasons": ["Unschedulable"], "action": "Restart"}]
    for action, phase, restarts in (("Restart", "Restarting", 1), ("Fail", "Failed", 0)):
        rules[0]["action"] = action
        job = two(builder=make_trainjob().workers(2).failure_policy(rules=rules))
        over = decide(job, seen(*PART, service=True, complete=True), 600).status
        assert over is not None
        assert (over.phase, over.restarts) == (phase, restarts)


def test_freed_sets_do_not_lengthen_the_backoff_of_a_failure() -> None:
    record = FailureRecord(attempt=0, time=at(590), cause="Unschedulable")
    status = TrainJobStatus(phase="Running", attempt=1, start_time=T0, running_time=T0, history=[record])
    again = decide(two(status), seen(pod(0, 1).failed(1), pod(1, 1).running(), service=True), 600)
    assert again.create == (0, 1)
    assert again.status is not None
    assert again.status.restarts == 1


def test_pods_that_do_not_start_are_given_up_with_what_is_in_the_way() -> None:
    pods = [pod(0).running(), pod(1).waiting("ErrImagePull", "no such tag", node="n2")]
    hangs = seen(*pods, service=True, complete=True, last_write=T0)
    told = decide(two(), hangs, 60).status
    assert decide(two(told), hangs, 1799).requeue_after == timedelta(seconds=1)
    over = decide(two(told), hangs, 1800)
    assert over.status is not None
    assert (over.status.attempt, over.status.restarts, over.create) == (1, 1, (0, 1))
    assert (over.status.history[0].cause, over.status.history[0].node) == ("StartTimeout", "n2")
    assert "no such tag" in over.status.history[0].message
    assert {gone.name for gone in over.delete} == {"digits-0-0", "digits-0-1"}
    assert "(restart 1 of 3)" in over.events[0].message
