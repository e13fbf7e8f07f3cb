from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from paceline_operator.policies import starting
from paceline_operator.policies.failure import Failure
from paceline_operator.policies.problems import Problem
from paceline_operator.policies.starting import Ask, Within
from tests.support.pods import PodBuilder, all_running, at, pod
from tests.support.trainjobs import make_trainjob

IMAGE = Problem("Running", "ImagePullFailed", "pod digits-0-1 on node n2 cannot get its image: ErrImagePull")
HANGS = [pod(0).running(), pod(1).waiting("ErrImagePull", node="n2")]


def decide(
    pods: list[PodBuilder], seconds: float, problem: Problem | None = IMAGE, asked: tuple[str, ...] = (), **status: Any
) -> Within | Ask | Failure:
    job = make_trainjob().workers(4).per_pod(2).status(**status).obj()
    return starting.decide(job, job.status, [builder.obj() for builder in pods], problem, asked, at(seconds))


@pytest.mark.parametrize(
    ("pods", "seconds", "expected"),
    [
        pytest.param(HANGS, 1799, Within(timedelta(seconds=1)), id="not for long"),
        pytest.param(
            [pod(0).running(), pod(1).on("n2").with_(placed=at(3000))],
            4000,
            Within(timedelta(seconds=800)),
            id="the time begins with the last node",
        ),
        pytest.param(all_running(2), 9999, Within(), id="all run"),
        pytest.param([pod(0).running(), pod(1).succeeded()], 9999, Within(), id="one has ended"),
        pytest.param([pod(0).running(), pod(1)], 9999, Within(), id="one has no node"),
        pytest.param([pod(0).on("n1")], 9999, Within(), id="one is not there"),
        pytest.param([], 9999, Within(), id="none is there"),
        pytest.param(
            [pod(index).on("n1").with_(placed=None) for index in range(2)], 9999, Within(), id="no time is known"
        ),
    ],
)
def test_an_attempt_is_left_alone(pods: list[PodBuilder], seconds: float, expected: Within) -> None:
    assert decide(pods, seconds) == expected


def test_an_attempt_that_ran_once_has_started() -> None:
    assert decide(HANGS, 9999, runningTime=at(60)) == Within()


def test_zero_is_never() -> None:
    job = make_trainjob().workers(2).failure_policy(startTimeoutSeconds=0).obj()
    assert starting.decide(job, job.status, [builder.obj() for builder in HANGS], IMAGE, (), at(9999)) == Within()


def test_too_late_names_the_pod_the_limit_and_what_is_in_the_way() -> None:
    found = decide(HANGS, 1800)
    assert isinstance(found, Failure)
    assert (found.cause, found.pod, found.node, found.rank) == ("StartTimeout", "digits-0-1", "n2", 2)
    assert found.sentence == (
        "pod digits-0-1 did not start within failurePolicy.startTimeoutSeconds (1800 s): " + IMAGE.message
    )
    assert found.details == IMAGE.message


def test_without_a_reason_the_pods_events_are_asked_for_first() -> None:
    silent = [pod(0).running(), pod(1).on("n2")]
    assert decide(silent, 1800, None) == Ask("digits-0-1")
    assert decide(silent, 1800, None, ("digits-0-0",)) == Ask("digits-0-1")
    assert isinstance(decide(silent, 1800, IMAGE), Failure)


def test_without_a_reason_it_says_where_to_look() -> None:
    found = decide([pod(0).on("n1"), pod(1).on("n2")], 1800, None, ("digits-0-0",))
    assert isinstance(found, Failure)
    assert "(nor did 1 more): the node tells no reason: kubectl describe node n1" in found.sentence
