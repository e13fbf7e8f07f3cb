"""Missing credentials, runs of trackers and the TensorBoard of a run, from snapshot to plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paceline.api import CheckpointStatus, TrackingRun, TrainJobStatus
from paceline_operator.planning import Plan, plan
from paceline_operator.policies.config import JobDefaults
from paceline_operator.policies.observed import AgentReport, Observed, TrackingProblem
from tests.support.pods import T0, all_running, at, pod, seen, termination
from tests.support.trainjobs import TrainJobBuilder, make_trainjob

ABSENT = 'secret "wandb" not found'
MOUNT = f'FailedMount: MountVolume.SetUp failed for volume "paceline-credential-0" : {ABSENT}'
RUN = TrackingRun(kind="wandb", run_id="a", url="https://wandb.ai/t/p/runs/a")
OFFLINE = TrackingRun(kind="comet", run_id="b", path="/mnt/runs/digits")
RUNNING = TrainJobStatus(phase="Running", start_time=T0, running_time=T0, attempt=0)


def decide(
    builder: TrainJobBuilder, observed: Observed, seconds: float = 0, status: TrainJobStatus | None = None,
    config: JobDefaults | None = None,
) -> Plan:  # fmt: skip
    job = builder.obj()
    job = job if status is None else job.model_copy(update={"status": status})
    return plan(job, observed, at(seconds), config or JobDefaults())


def condition(planned: Plan | TrainJobStatus) -> tuple[str, str, str] | None:
    status = planned.status if isinstance(planned, Plan) else planned
    assert status is not None
    found = status.condition("MissingCredentials")
    return None if found is None else (found.status, found.reason, found.message)


def warnings(planned: Plan) -> list[tuple[str, str]]:
    return [(note.reason, note.message) for note in planned.events if note.type == "Warning"]


def test_a_missing_secret_is_a_condition_and_one_event_until_it_is_there() -> None:
    job = make_trainjob().workers(2).credential("wandb")
    lacking = seen(pod(0).waiting("CreateContainerConfigError", ABSENT), pod(1).on("n1"), service=True, last_write=T0)
    first = decide(job, lacking, 2)
    message = (
        'Secret "wandb" is not in namespace ml, and spec.credentials[0] needs it; pod digits-0-0 waits: create the '
        "Secret, the job then starts by itself"
    )
    assert condition(first) == ("True", "MissingSecret", message)
    assert warnings(first) == [("MissingSecret", message)]
    assert first.status is not None
    again = decide(job, replace(lacking, last_write=at(2)), 60, first.status)
    assert (again.status, again.events) == (None, ())
    there = seen(*all_running(2), service=True, last_write=at(2))
    over = decide(job, there, 61, first.status)
    assert condition(over) == ("False", "Found", "what was missing is there")
    assert warnings(over) == []
    assert over.status is not None
    gone_again = decide(job, lacking, 90, over.status.model_copy(update={"phase": "Starting"}))
    assert warnings(gone_again) == [("MissingSecret", message)]


def test_a_secret_that_is_mounted_is_asked_for_within_seconds() -> None:
    files, variables = make_trainjob().credential("wandb", mount_path="/etc/w"), make_trainjob().credential("wandb")
    waiting = seen(pod(0).waiting("ContainerCreating"), service=True, last_write=T0)
    assert decide(files, waiting, 2).inspect == ("digits-0-0",)
    assert decide(variables, waiting, 2).inspect == ()
    assert decide(make_trainjob().storage("gs://b", secret="gcs"), waiting, 2).inspect == ("digits-0-0",)
    told = decide(files, replace(waiting, warnings={"digits-0-0": MOUNT}, looked=at(2)), 3)
    assert "spec.credentials[0] (mounted at /etc/w) needs it" in warnings(told)[0][1]


def test_the_default_storage_is_named_as_what_needs_its_secret() -> None:
    config = JobDefaults(storage_path="s3://b", storage_secret="wandb")
    lacking = seen(pod(0).waiting("CreateContainerConfigError", ABSENT), service=True, last_write=T0)
    assert (
        "the operator's defaultStorage.secretRef needs it"
        in warnings(decide(make_trainjob(), lacking, 2, None, config))[0][1]
    )
    own = make_trainjob().storage("s3://c", secret="wandb")
    assert "spec.storage.secretRef needs it" in warnings(decide(own, lacking, 2, None, config))[0][1]


def test_a_trackers_warning_is_a_condition_and_an_event_and_training_goes_on() -> None:
    told = AgentReport(outcome="running", tracking_problem=TrackingProblem("mlflow", "TrackerUnreachable", "no answer"))
    warned = decide(make_trainjob(), seen(*all_running(1), service=True, report=told), 60, RUNNING)
    assert warned.status is not None
    assert warned.status.phase == "Running"
    assert condition(warned) == ("True", "TrackerUnreachable", "mlflow: no answer")
    assert warnings(warned) == [("TrackerUnreachable", "mlflow: no answer")]


FAILURE = termination(
    failure={"rank": 0, "exitCode": 64, "reason": "MissingCredentials", "message": "no key: set WANDB_API_KEY"},
    tracking=[RUN.model_dump(by_alias=True)],
)


def test_a_failure_for_want_of_credentials_ends_the_job_with_the_way_out() -> None:
    failed = decide(make_trainjob(), seen(pod(0).failed(64, message=FAILURE), service=True), 60, RUNNING)
    assert failed.status is not None
    assert failed.status.phase == "Failed"
    status, reason, message = condition(failed) or ("", "", "")
    assert (status, reason) == ("True", "MissingCredentials")
    assert "set WANDB_API_KEY; no restart can mend that" in message
    assert warnings(failed) == [("MissingCredentials", message)]
    assert failed.status.tracking == [RUN]


def test_a_rule_can_say_otherwise() -> None:
    job = make_trainjob().failure_policy(rules=[{"reasons": ["MissingCredentials"], "action": "Restart"}])
    again = decide(job, seen(pod(0).failed(64, message=FAILURE), service=True), 60, RUNNING)
    assert again.status is not None
    assert (again.status.phase, again.status.history[-1].cause) == ("Restarting", "MissingCredentials")


def test_success_and_suspension_end_the_condition() -> None:
    lacking = decide(
        make_trainjob(), seen(pod(0).waiting("CreateContainerConfigError", ABSENT), service=True, last_write=T0), 2
    ).status
    assert lacking is not None
    done = decide(make_trainjob(), seen(pod(0).succeeded(), service=True), 60, lacking)
    assert (condition(done) or ())[:2] == ("False", "Finished")
    stopped = decide(make_trainjob().suspended(), seen(service=True), 60, lacking)
    assert (condition(stopped) or ())[:2] == ("False", "SuspendedByUser")


# --- runs of trackers ------------------------------------------------------------------------------


def test_runs_are_on_record_once_over_attempts_and_at_the_end() -> None:
    told = seen(*all_running(1), service=True, report=AgentReport(outcome="running", tracking=(RUN,)))
    first = decide(make_trainjob(), replace(told, last_write=at(58)), 60, RUNNING)
    assert first.status is not None
    assert first.status.tracking == [RUN]
    soon = decide(make_trainjob(), replace(told, last_write=at(60), changed_since=at(60)), 60.5, RUNNING)
    assert (soon.status, soon.requeue_after is not None) == (None, True)
    same = decide(make_trainjob(), replace(told, last_write=at(60)), 120, first.status)
    assert same.status is None
    next_attempt = first.status.model_copy(update={"attempt": 1})
    silent = decide(make_trainjob(), seen(pod(0, 1).running(), service=True, last_write=at(60)), 120, next_attempt)
    assert (silent.status or next_attempt).tracking == [RUN]
    last = termination("succeeded", tracking=[OFFLINE.model_dump(by_alias=True)])
    ended = replace(told, pods=(pod(0).succeeded().with_(exit_message=last).obj(),))
    done = decide(make_trainjob(), ended, 120, first.status)
    assert done.status is not None
    assert done.status.tracking == [RUN, OFFLINE]


@pytest.mark.parametrize("checkpoint", [None, {"path": "s3://b/c", "index": 4}])
def test_a_last_word_after_the_end_adds_runs_and_checkpoint(checkpoint: dict[str, Any] | None) -> None:
    over = TrainJobStatus(phase="Succeeded", start_time=T0, completion_time=T0, tracking=[RUN])
    message = termination("succeeded", tracking=[OFFLINE.model_dump(by_alias=True)], checkpoint=checkpoint or {})
    late = decide(make_trainjob(), seen(pod(0).succeeded().with_(exit_message=message), service=True), 60, over)
    assert late.status is not None
    assert late.status.tracking == [RUN, OFFLINE]
    assert late.status.checkpoint == (CheckpointStatus.model_validate(checkpoint) if checkpoint else None)
    assert decide(make_trainjob(), seen(service=True), 60, over).status is None


# --- TensorBoard -------------------------------------------------------------------------------------

SERVED = make_trainjob().storage("s3://b").tracking(tensorboard={"serve": True})


@pytest.mark.parametrize(
    ("job", "observed", "enabled", "made"),
    [
        pytest.param(SERVED, seen(), True, True, id="asked for"),
        pytest.param(make_trainjob().storage("s3://b"), seen(), True, False, id="not asked for"),
        pytest.param(SERVED, seen(tensorboard=True), True, False, id="there"),
        pytest.param(SERVED, seen(), False, False, id="the operator may not"),
        pytest.param(SERVED, seen(tensorboard_again=at(90)), True, False, id="refused a moment ago"),
        pytest.param(SERVED, seen(tensorboard_again=at(60)), True, True, id="refused long ago"),
    ],
)
def test_the_tensorboard_is_made_once(job: TrainJobBuilder, observed: Observed, enabled: bool, made: bool) -> None:
    observed = replace(observed, last_write=at(60))
    planned = decide(job, observed, 60, None, JobDefaults(tensorboard=enabled))
    assert planned.tensorboard == made
    refused = observed.tensorboard_again == at(90)
    assert (planned.requeue_after is not None and planned.requeue_after.total_seconds() <= 30) or not refused


def test_a_tensorboard_that_nobody_makes_is_told_and_training_begins() -> None:
    planned = decide(SERVED, seen(*all_running(1), service=True), 60, None, JobDefaults(tensorboard=False))
    assert [reason for reason, _ in warnings(planned)] == ["TensorBoardUnavailable"]


def test_a_tensorboard_without_storage_is_a_mistake_of_the_spec() -> None:
    job = make_trainjob().tracking(tensorboard={"serve": True})
    refused = decide(job, seen())
    assert refused.status is not None
    assert "spec.tracking.tensorboard.serve: is true, but the run has no storage" in refused.events[0].message
    assert decide(job, seen(), config=JobDefaults(storage_path="s3://b")).tensorboard
    assert decide(job, seen(), config=JobDefaults(storage_path="/mnt")).status is not None
