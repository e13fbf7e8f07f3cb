"""The models: defaults, bounds, and what goes out is what came in."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from paceline.api import Condition, FailureRecord, Progress, TrainJob, TrainJobStatus, WorkerCounts, WorkerResources
from paceline.api.names import is_reserved_env
from tests.support.trainjobs import make_trainjob

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone.utc)


def test_the_smallest_job_is_one_worker_that_restarts_three_times() -> None:
    spec = make_trainjob().obj().spec
    assert (spec.framework, spec.workers.count, spec.pods) == ("none", 1, 1)
    assert (spec.failure_policy.max_restarts, spec.clean_pod_policy, spec.suspend) == (3, "Running", False)


def test_pods_share_the_workers_out() -> None:
    assert make_trainjob().workers(8).per_pod(4).obj().spec.pods == 2


def test_the_experiment_is_named_after_the_job_unless_storage_says_otherwise() -> None:
    assert make_trainjob("digits").obj().experiment_name == "digits"
    assert make_trainjob("digits").storage("s3://b", name="other").obj().experiment_name == "other"


def test_a_misspelt_field_is_an_error_and_a_newer_field_from_the_cluster_is_not() -> None:
    body = make_trainjob().set(elastic={"min": 1}).body()
    with pytest.raises(ValidationError, match="elastic"):
        TrainJob.model_validate(body)
    assert TrainJob.from_body(body).spec == make_trainjob().obj().spec


def test_a_body_without_empty_things_goes_out() -> None:
    body = make_trainjob().workers(2).env(A="").args("").body()
    sent = TrainJob.from_body(body).to_body()
    assert sent["spec"]["env"] == [{"name": "A", "value": ""}]
    assert sent["spec"]["args"] == [""]
    assert not {"envFrom", "storage", "podTemplate", "credentials"} & sent["spec"].keys()
    assert sent["spec"]["scheduling"] == {"gang": "Auto", "timeoutSeconds": 600}
    assert "status" not in sent


@pytest.mark.parametrize(
    ("given_", "kept"), [(4, "4"), ("500m", "500m"), ("16Gi", "16Gi"), ("1.5", "1.5"), ("1e3", "1e3"), ("+1", "+1")]
)
def test_a_quantity_is_kept_as_text(given_: Any, kept: str) -> None:
    assert WorkerResources.model_validate({"cpu": given_}).cpu == kept


@pytest.mark.parametrize("value", ["-1", "4 cores", "16GB", "", "Gi", True, 0.5])
def test_what_is_no_quantity_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        WorkerResources.model_validate({"cpu": value})


def test_workers_that_run_or_ended_well_are_ready() -> None:
    assert WorkerCounts(desired=4, running=2, succeeded=1, failed=1).ready == "3/4"


def test_times_are_seconds_in_utc_and_the_end_of_a_backoff_is_milliseconds() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=2)))
    body = TrainJobStatus(start_time=local, next_attempt_time=local).to_body()
    assert body["startTime"] == "2026-01-02T03:04:05Z"
    assert body["nextAttemptTime"] == "2026-01-02T03:04:05.678Z"


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError):
        TrainJobStatus(start_time=NOW.replace(tzinfo=None))


def test_long_texts_are_cut_where_the_cause_does_not_stand() -> None:
    condition = Condition(
        type="Failed", status="True", last_transition_time=NOW, reason="WorkerFailed", message="a" * 5000
    )
    assert len(condition.message) == 1024
    assert condition.message.endswith("a…")


def test_the_newest_failures_are_kept() -> None:
    records = [FailureRecord(attempt=number, time=NOW, cause="NodeLost") for number in range(25)]
    assert [record.attempt for record in TrainJobStatus(history=records).history] == list(range(5, 25))


@given(
    st.dictionaries(
        st.text(max_size=20),
        st.one_of(st.floats(), st.integers(), st.text(max_size=400), st.booleans(), st.none(), st.lists(st.integers())),
        max_size=100,
    )
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on busy cores a draw may take a second
def test_metrics_of_any_kind_become_a_status_that_reads_back_the_same(metrics: dict[str, Any]) -> None:
    status = TrainJobStatus(progress=Progress.model_validate({"metrics": metrics}))
    body = status.to_body()
    assert TrainJobStatus.model_validate(body) == status
    assert len(body["progress"]["metrics"]) <= 64
    assert all(value == value for value in body["progress"]["metrics"].values())


def test_a_condition_is_found_by_its_type() -> None:
    condition = Condition(type="Running", status="True", last_transition_time=NOW, reason="AllWorkersRunning")
    status = TrainJobStatus(conditions=[condition])
    assert status.condition("Running") == condition
    assert status.condition("Failed") is None
    assert not status.finished
    assert TrainJobStatus(phase="Failed").finished


@pytest.mark.parametrize(
    ("name", "reserved"), [("RANK", True), ("PACELINE_X", True), ("OMP_NUM_THREADS", False), ("TF_CONFIG", False)]
)
def test_rank_variables_and_those_of_paceline_are_reserved(name: str, reserved: bool) -> None:
    assert is_reserved_env(name) is reserved


def test_a_tracker_with_all_its_defaults_is_not_lost_on_the_way() -> None:
    sent = TrainJob.from_body(make_trainjob().tracking(wandb={}).body()).to_body()
    assert sent["spec"]["tracking"]["wandb"] == {}
    assert "mlflow" not in sent["spec"]["tracking"]
    assert TrainJob.from_body(sent).spec.tracking.wandb is not None
