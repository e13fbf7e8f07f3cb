"""A job is over while the kubelet still calls its pods Running: they keep their logs, and are looked at again."""

from __future__ import annotations

from datetime import timedelta

from paceline.api import TrainJobStatus
from paceline_operator.planning import plan
from paceline_operator.policies.config import JobDefaults
from tests.support.pods import T0, PodBuilder, at, pod, seen
from tests.support.trainjobs import make_trainjob

JOB = make_trainjob().workers(2).obj()
RUNNING = JOB.model_copy(update={"status": TrainJobStatus(phase="Running", start_time=T0, running_time=T0)})


def just_ended(index: int) -> PodBuilder:
    return pod(index).running().with_(running=False, exit_code=0, finished=at(60))


def test_success_deletes_no_pod_that_is_about_to_end() -> None:
    over = plan(RUNNING, seen(just_ended(0), just_ended(1)), at(61), JobDefaults())
    assert over.status is not None
    assert over.status.phase == "Succeeded"
    assert over.delete == ()


def test_a_finished_job_looks_again_and_deletes_what_still_runs() -> None:
    done = JOB.model_copy(update={"status": TrainJobStatus(phase="Succeeded", completion_time=at(61))})
    waits = plan(done, seen(just_ended(0), pod(1).succeeded()), at(62), JobDefaults())
    assert (waits.delete, waits.requeue_after) == ((), timedelta(seconds=8))
    later = plan(done, seen(just_ended(0), pod(1).succeeded()), at(70), JobDefaults())
    assert [gone.name for gone in later.delete] == ["digits-0-0"]
    assert later.requeue_after is None
