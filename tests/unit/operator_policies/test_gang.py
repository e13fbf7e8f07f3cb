from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from paceline.api import FailureRecord, TrainJob, reasons
from paceline_operator.policies import gang
from paceline_operator.policies.failure import Failure
from paceline_operator.policies.gang import Way
from paceline_operator.policies.problems import Problem
from paceline_operator.policies.starting import Within
from tests.support.pods import T0, PodBuilder, at, pod
from tests.support.trainjobs import TrainJobBuilder, make_trainjob

SHORT = Problem("Scheduled", "Unschedulable", "pod digits-0-2 finds no node: 0/2 nodes: 2 Insufficient nvidia.com/gpu")


def three(**scheduling: Any) -> TrainJobBuilder:
    return make_trainjob().workers(3).scheduling(**scheduling)


def freed(**fields: Any) -> FailureRecord:
    return FailureRecord(**{"attempt": 0, "time": T0, "cause": "Unschedulable", **fields})


@pytest.mark.parametrize(
    ("job", "served", "way"),
    [
        pytest.param(three(), True, Way.GROUP, id="where it is served"),
        pytest.param(three(), False, Way.TIMEOUT, id="where it is not"),
        pytest.param(three(schedulerName="default-scheduler"), True, Way.GROUP, id="the default by its name"),
        pytest.param(three(schedulerName="volcano"), True, Way.TIMEOUT, id="another scheduler may not know it"),
        pytest.param(
            three().pod_template({"schedulerName": "volcano"}), True, Way.TIMEOUT, id="another one in the template"
        ),
        pytest.param(
            three().pod_template({"schedulingGroup": {"podGroupName": "mine"}}), True, Way.TIMEOUT, id="the user's own"
        ),
        pytest.param(three(gang="PodGroup", schedulerName="second"), True, Way.GROUP, id="asked for all the same"),
        pytest.param(three(gang="PodGroup"), False, Way.UNAVAILABLE, id="asked for in vain"),
        pytest.param(three(gang="Timeout"), True, Way.TIMEOUT, id="timeout asked for"),
        pytest.param(three(gang="None"), True, Way.NONE, id="none asked for"),
        pytest.param(make_trainjob().workers(4).per_pod(4), True, Way.NONE, id="one pod is no gang"),
    ],
)
def test_the_way_of_a_new_attempt(job: TrainJobBuilder, served: bool, way: Way) -> None:
    assert gang.way(job.obj().spec, (), served) is way


@pytest.mark.parametrize(("group", "way"), [("digits-0", Way.GROUP), ("", Way.TIMEOUT)])
def test_an_attempt_that_has_pods_goes_on_as_it_began(group: str, way: Way) -> None:
    made = [pod(0).with_(group=group).obj()]
    for served in (True, False):
        assert gang.way(three().obj().spec, made, served) is way


def test_all_groups_but_the_current_one_are_past() -> None:
    assert gang.past(("digits-2", "digits-10", "digits-1"), "digits", 2) == ("digits-1", "digits-10")


@pytest.mark.parametrize(
    ("job", "pods", "seconds", "expected"),
    [
        pytest.param(three(), [pod(0), pod(1), pod(2)], 9999, Within(), id="no node at all waits as long as it takes"),
        pytest.param(three(), [pod(0).on("n"), pod(1).on("n"), pod(2).on("n")], 9999, Within(), id="all have a node"),
        pytest.param(
            three(),
            [pod(0).running(), pod(1).running(), pod(2).succeeded().with_(node="unknown", placed=None)],
            9999,
            Within(),
            id="one had ended well and is gone",
        ),
        pytest.param(
            three(), [pod(0).on("n"), pod(1), pod(2)], 599, Within(timedelta(seconds=1)), id="in part, not for long"
        ),
        pytest.param(three(gang="None"), [pod(0).on("n"), pod(1), pod(2)], 9999, Within(), id="as asked for"),
        pytest.param(
            three(timeoutSeconds=60),
            [pod(0), pod(1).running().with_(placed=at(900)), pod(2)],
            930,
            Within(timedelta(seconds=30)),
            id="the time begins with the first node, not with the pods",
        ),
    ],
)
def test_a_set_is_left_alone(job: TrainJobBuilder, pods: list[PodBuilder], seconds: float, expected: Within) -> None:
    assert gang.decide(job.obj(), [builder.obj() for builder in pods], SHORT, at(seconds)) == expected


def test_a_set_placed_in_part_for_too_long_is_freed_with_the_schedulers_sentence() -> None:
    pods = [pod(0).running().obj(), pod(1).running().with_(placed=at(30)).obj(), pod(2).obj()]
    found = gang.decide(three().obj(), pods, SHORT, at(600))
    assert isinstance(found, Failure)
    assert (found.cause, found.pod, found.rank) == ("Unschedulable", "digits-0-2", 2)
    assert found.sentence == (
        "2 of 3 pods held a node for scheduling.timeoutSeconds (600 s) while the others found none, and are freed: "
        + SHORT.message
    )


def test_pods_that_could_not_even_be_made_count_as_without_a_node() -> None:
    job = make_trainjob().workers(4).per_pod(2).scheduling(timeoutSeconds=60).obj()
    found = gang.decide(job, [pod(0).running().obj()], None, at(60))
    assert isinstance(found, Failure)
    assert (found.pod, found.rank) == ("digits-0-1", 2)
    assert found.sentence.endswith("are freed, and the scheduler tells no reason")


def pause(job: TrainJob, times: int | None = None) -> timedelta:
    return gang.pause(job, "Unschedulable", timedelta(0), [freed(times=times)])


@pytest.mark.parametrize(
    ("cause", "after_s", "expected_s"),
    [("WorkerFailed", 0, 0), ("NodeLost", 1, 1), ("Preempted", 0, 5), ("Preempted", 9, 9)],
)
def test_whoever_preempted_the_job_gets_its_place_first(cause: str, after_s: int, expected_s: int) -> None:
    found = gang.pause(three().obj(), cause, timedelta(seconds=after_s), [freed(cause=cause)])
    assert found == timedelta(seconds=expected_s)


def test_the_pause_grows_in_a_row_within_bounds() -> None:
    job = three().obj()
    for times, middle in ((None, 30), (2, 60), (3, 120), (6, 600), (500, 600)):
        seconds = pause(job, times).total_seconds()
        assert 0.5 * middle <= seconds < 1.5 * middle
    assert 1 <= pause(three(timeoutSeconds=5).obj()).total_seconds() < 3
    assert 2.5 <= pause(three(timeoutSeconds=50).obj()).total_seconds() < 7.5


def test_the_pause_is_the_same_in_a_second_look_and_differs_by_job_and_attempt() -> None:
    one, other = three().obj(), three().uid("another").obj()
    later = three().status(attempt=1).obj()
    assert pause(one) == pause(three().obj())
    assert len({pause(job) for job in (one, other, later)}) == 3


def test_two_jobs_hardly_ever_come_back_together() -> None:
    close = 0
    for number in range(200):
        first, second = (three().uid(f"{name}-{number}").obj() for name in "ab")
        apart = pause(first) - pause(second)
        close += abs(apart) < timedelta(seconds=1)
    assert close < 20


def test_freed_sets_in_a_row_share_one_record() -> None:
    failed = FailureRecord(attempt=0, time=T0, cause="WorkerFailed")
    one = gang.folded([failed], freed(attempt=1))
    two = gang.folded(one, freed(attempt=2, message="newer"))
    three_ = gang.folded(two, freed(attempt=3))
    assert [(record.attempt, record.times) for record in two] == [(0, None), (2, 2)]
    assert two[1].message == "newer"
    assert [(record.attempt, record.times) for record in three_] == [(0, None), (3, 3)]


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(freed(downtime_seconds=4.0), id="it ran in between"),
        pytest.param(FailureRecord(attempt=0, time=T0, cause="Preempted"), id="another cause"),
    ],
)
def test_what_is_not_in_a_row_has_a_record_of_its_own(last: FailureRecord) -> None:
    assert gang.folded([last], freed(attempt=1)) == [last, freed(attempt=1)]
    assert gang.folded([], last) == [last]
    assert gang.folded([freed()], FailureRecord(attempt=1, time=T0, cause="PodFailed"))[0] == freed()


def test_what_is_in_the_way_says_how_to_switch_it_on() -> None:
    assert gang.unavailable().reason == reasons.GANG_UNAVAILABLE
    for word in ("spec.scheduling.gang", "v1alpha2", "GangScheduling", '"Timeout"'):
        assert word in gang.unavailable().message
