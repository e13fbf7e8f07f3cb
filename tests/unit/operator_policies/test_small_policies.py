from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from paceline.api import Condition, FailurePolicy, FailureRecord, TrainJobStatus
from paceline_operator.policies import cleanup, deadline, restart, success, suspend, ttl
from paceline_operator.policies.failure import Failure
from tests.support.pods import PodBuilder, at, pod


@pytest.mark.parametrize(
    ("limit", "started", "suspended", "now", "expected"),
    [
        pytest.param(None, at(0), 0, at(999), deadline.Within(None), id="no deadline"),
        pytest.param(10, None, 0, at(999), deadline.Within(None), id="not started"),
        pytest.param(10, at(0), 0, at(4), deadline.Within(timedelta(seconds=6)), id="within"),
        pytest.param(10, at(0), 5, at(14), deadline.Within(timedelta(seconds=1)), id="suspended time does not count"),
    ],
)
def test_deadline_within(limit: Any, started: Any, suspended: int, now: Any, expected: object) -> None:
    assert deadline.decide(limit, started, suspended, now) == expected


def test_deadline_exceeded_says_what_stays() -> None:
    decision = deadline.decide(10, at(0), 0, at(10))
    assert isinstance(decision, deadline.Exceeded)
    assert "10 s" in decision.message
    assert "storage" in decision.message


@pytest.mark.parametrize(
    ("seconds", "completed", "expected"),
    [
        pytest.param(None, at(0), ttl.Keep(None), id="no ttl"),
        pytest.param(60, None, ttl.Keep(None), id="not over"),
        pytest.param(60, at(0), ttl.Keep(timedelta(seconds=30)), id="not yet"),
        pytest.param(30, at(0), ttl.Delete(), id="now"),
    ],
)
def test_ttl(seconds: Any, completed: Any, expected: object) -> None:
    assert ttl.decide(seconds, completed, at(30)) == expected


def _suspended(since: float, **fields: Any) -> TrainJobStatus:
    condition = Condition(type="Suspended", status="True", last_transition_time=at(since), reason="SuspendedByUser")
    return TrainJobStatus(phase="Suspended", conditions=[condition], **fields)


@pytest.mark.parametrize(
    ("wanted", "status", "expected"),
    [
        pytest.param(True, TrainJobStatus(), suspend.Suspend(), id="wanted"),
        pytest.param(False, TrainJobStatus(phase="Running"), suspend.Go(), id="running"),
        pytest.param(False, _suspended(0), suspend.Resume(0, 0), id="before the first pods"),
        pytest.param(
            False,
            _suspended(10, attempt=2, start_time=at(0), suspended_seconds=5),
            suspend.Resume(3, 25),
            id="names of ending pods are not used again",
        ),
        pytest.param(
            False, TrainJobStatus(phase="Suspended", start_time=at(0)), suspend.Resume(1, 0), id="condition is missing"
        ),
    ],
)
def test_suspend(wanted: bool, status: TrainJobStatus, expected: object) -> None:
    assert suspend.decide(wanted, status, at(30)) == expected


@pytest.mark.parametrize(
    ("policy", "gone"),
    [("Running", ["digits-0-1"]), ("All", ["digits-0-0", "digits-0-1"]), ("None", [])],
)
def test_clean_pod_policy(policy: Any, gone: list[str]) -> None:
    pods = [pod(0).succeeded().obj(), pod(1).running().obj(), pod(2).running().deleting().obj()]
    assert [found.name for found in cleanup.when_finished(policy, pods, at(0))] == gone


def test_pods_of_past_attempts_go_but_a_few_that_failed() -> None:
    pods: list[PodBuilder] = [
        pod(0, attempt=5).running(),
        pod(0, attempt=4).running(),
        pod(1, attempt=4).failed(1),
        pod(2, attempt=4).running().deleting(),
        pod(0, attempt=1).failed(1),
    ]
    gone = cleanup.of_past_attempts([builder.obj() for builder in pods], 5, at(0))
    assert [found.name for found in gone] == ["digits-4-0", "digits-1-0"]


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_pod_whose_worker_just_ended_is_left_to_end_by_itself_with_its_logs(exit_code: int) -> None:
    ended = pod(0).running().with_(running=False, exit_code=exit_code, finished=at(0)).obj()
    for now in (at(-2), at(1)):
        assert cleanup.when_finished("Running", [ended], now) == ()
        assert cleanup.of_past_attempts([ended], 1, now) == ()
    assert cleanup.look_again("Running", [ended], at(1)) == timedelta(seconds=9)
    # All means all.
    assert cleanup.when_finished("All", [ended], at(1)) == (ended,)
    assert cleanup.look_again("All", [ended], at(1)) is None


def test_a_pod_whose_sidecar_goes_on_after_the_worker_goes_in_the_end() -> None:
    ended = pod(0).running().with_(running=False, exit_code=0, finished=at(0)).obj()
    assert cleanup.when_finished("Running", [ended], at(10)) == (ended,)
    assert cleanup.of_past_attempts([ended], 1, at(10)) == (ended,)
    assert cleanup.look_again("Running", [ended], at(10)) is None
    assert cleanup.look_again("Running", [pod(0).succeeded().with_(finished=at(0)).obj()], at(1)) is None


def test_success_needs_every_pod() -> None:
    done, going = pod(0).succeeded().obj(), pod(1).running().obj()
    assert success.decide([done], 1)
    assert not success.decide([done], 2)
    assert not success.decide([done, going], 2)
    sidecar_runs = pod(1).running().with_(running=False, exit_code=0).obj()
    assert success.decide([done, sidecar_runs], 2)


def _record(seconds: float, resumed_from: int | None = None, lost: int | None = None) -> FailureRecord:
    return FailureRecord(attempt=0, time=at(seconds), cause="WorkerFailed", resumed_from=resumed_from, lost_steps=lost)


CRASH = Failure("WorkerFailed", "digits-0-1", "worker 1 in pod digits-0-1 exited 1")


@pytest.mark.parametrize(
    ("history", "after"),
    [
        pytest.param([_record(0)], 0, id="first: at once"),
        pytest.param([_record(0), _record(1)], 2, id="second without progress"),
        pytest.param([_record(0), _record(1), _record(2)], 4, id="doubled"),
        pytest.param([_record(n) for n in range(12)], 60, id="bounded"),
        pytest.param([_record(0, 1), _record(1, 1), _record(9, 2)], 0, id="a new checkpoint"),
        pytest.param([_record(0), _record(9, 0)], 0, id="the first checkpoint"),
        pytest.param([_record(0, None, 5), _record(9, None, 50)], 0, id="further than before"),
        pytest.param([_record(0, None, 5), _record(9, None, 5)], 2, id="stuck at the same step"),
        pytest.param([_record(0), _record(700)], 0, id="held out long"),
    ],
)
def test_backoff_grows_only_without_progress(history: list[FailureRecord], after: float) -> None:
    policy = FailurePolicy.model_validate({"maxRestarts": -1, "backoffSeconds": {"initial": 2, "max": 60}})
    decision = restart.decide(CRASH, history, restarts=99, preemptions=0, policy=policy)
    assert decision == restart.RestartGroup(timedelta(seconds=after))


@pytest.mark.parametrize(
    ("max_restarts", "says"),
    [pytest.param(3, "all 3 restarts", id="spent"), pytest.param(0, "maxRestarts is 0", id="none allowed")],
)
def test_spent_restarts_end_the_job(max_restarts: int, says: str) -> None:
    policy = FailurePolicy(max_restarts=max_restarts)
    decision = restart.decide(CRASH, [_record(0)], restarts=max_restarts, preemptions=0, policy=policy)
    assert isinstance(decision, restart.FailJob)
    assert decision.reason == "MaxRestartsReached"
    assert says in decision.message


def test_a_final_failure_spends_no_restart() -> None:
    final = Failure("StorageError", "digits-0-0", "worker 0 in pod digits-0-0 exited 70", final=True)
    decision = restart.decide(final, [_record(0)], restarts=0, preemptions=0, policy=FailurePolicy())
    assert isinstance(decision, restart.FailJob)
    assert decision.reason == "StorageError"


@pytest.mark.parametrize(
    ("current", "recorded", "gone"),
    [
        pytest.param([pod(0), pod(1), pod(2)], 0, [], id="all are there"),
        pytest.param([pod(0), pod(1).succeeded()], 2, [2], id="two had succeeded, one of them is there"),
        pytest.param([pod(0), pod(1).succeeded()], 1, [], id="the one that had succeeded is there"),
        pytest.param([pod(1)], 1, [], id="one of the two missing may have been at work"),
        pytest.param([], 3, [0, 1, 2], id="all had succeeded"),
    ],
)
def test_deleted_pods_that_had_succeeded(current: list[PodBuilder], recorded: int, gone: list[int]) -> None:
    pods = [builder.obj() for builder in current]
    found = success.gone(pods, "digits", 0, pods=3, recorded=recorded)
    assert [lost.index for lost in found] == gone
    assert all(lost.succeeded and lost.deleting for lost in found), "they count, and nobody deletes them again"
