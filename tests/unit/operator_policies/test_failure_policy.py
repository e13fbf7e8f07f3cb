from __future__ import annotations

import pytest

from paceline_operator.policies import failure
from tests.support.pods import PodBuilder, all_running, pod, seen, termination


def first(*pods: PodBuilder, complete: bool = True, expected: int | None = None) -> failure.Failure | None:
    return failure.first(seen(*pods, complete=complete), "digits", 0, expected or len(pods), 2)


def test_a_whole_attempt_has_no_failure() -> None:
    assert first(*all_running(2)) is None


def test_a_pod_that_was_never_there_is_not_lost() -> None:
    assert first(*all_running(1), complete=False, expected=2) is None


def test_the_earliest_end_is_the_cause() -> None:
    found = first(pod(0).failed(1, at=9), pod(1).failed(7, at=3), pod(2).failed(1))
    assert found is not None
    assert (found.pod, found.rank, found.exit_code, found.cause) == ("digits-0-1", 2, 7, "WorkerFailed")


def test_a_failure_that_the_lead_tells_of_is_laid_to_the_pod_of_its_rank() -> None:
    told = {"rank": 3, "exitCode": 137, "signal": 9, "time": "2026-01-02T03:04:06Z"}
    lead = pod(0).failed(137, at=1, message=termination(failure=told))
    found = first(lead, pod(1).running("node-2"))
    assert found is not None
    assert (found.pod, found.node, found.rank, found.cause) == ("digits-0-1", "node-2", 3, "WorkerFailed")


def test_a_failure_without_an_exception_is_told_in_the_agents_words() -> None:
    told = {"rank": 0, "exitCode": 70, "reason": "StorageError", "message": "cannot reach s3://b: AccessDenied"}
    found = first(pod(0).failed(70, message=termination(failure=told)))
    assert found is not None
    assert found.sentence == "worker 0 in pod digits-0-0 exited 70: cannot reach s3://b: AccessDenied"


def test_what_was_stopped_from_outside_is_a_consequence() -> None:
    stopped = pod(0).failed(143, at=1, message=termination("terminated"))
    found = first(stopped, pod(1).failed(1, at=5))
    assert found is not None
    assert found.pod == "digits-0-1"


STOPPED = termination("terminated")


@pytest.mark.parametrize(
    ("taken", "cause"),
    [
        pytest.param(
            pod(1).failed(143, at=9, message=STOPPED).with_(disruption="EvictionByEvictionAPI"),
            "PodEvicted",
            id="ended",
        ),
        pytest.param(pod(1).running().deleting().with_(disruption="PreemptionByScheduler"), "Preempted", id="saving"),
        pytest.param(pod(1).running().deleting(), "PodDeleted", id="deleted by hand"),
    ],
)
def test_of_a_group_that_was_stopped_the_pod_that_was_taken_is_the_cause(taken: PodBuilder, cause: str) -> None:
    found = first(pod(0).failed(143, at=1, message=STOPPED), taken, pod(2).failed(143, at=2, message=STOPPED))
    assert found is not None
    assert (found.pod, found.cause) == ("digits-0-1", cause)


def test_a_worker_that_fails_by_itself_is_the_cause_though_another_pod_is_going() -> None:
    found = first(pod(0).failed(1, at=1), pod(1).running().deleting())
    assert found is not None
    assert (found.pod, found.cause) == ("digits-0-0", "WorkerFailed")


def test_the_agents_word_names_rank_error_and_time() -> None:
    told = {"rank": 3, "exitCode": 1, "type": "ValueError", "message": "bad loss", "time": "2026-01-02T03:04:06Z"}
    found = first(pod(0).failed(1, at=0.5), pod(1).failed(1, at=60, message=termination(failure=told)))
    assert found is not None
    assert found.pod == "digits-0-0"
    only = first(pod(1).failed(1, at=60, message=termination(failure=told)), expected=1)
    assert only is not None
    assert only.rank == 3
    assert only.sentence == "worker 3 in pod digits-0-1 exited 1: ValueError: bad loss"
    assert only.details == "ValueError: bad loss"
    assert only.error is not None
    assert (only.error.type, only.error.message) == ("ValueError", "bad loss")


@pytest.mark.parametrize(
    ("builder", "cause", "says"),
    [
        pytest.param(
            pod(0).failed(137, reason="OOMKilled"), "OOMKilled", "spec.workers.resources.memory", id="out of memory"
        ),
        pytest.param(pod(0).failed(137), "WorkerFailed", "exited 137 (signal 9)", id="killed"),
        pytest.param(
            pod(0).with_(phase="Failed", reason="Evicted", node="n1", message="disk"),
            "PodEvicted",
            "evicted from node n1",
            id="evicted by the kubelet",
        ),
        pytest.param(
            pod(0).failed(137).with_(disruption="EvictionByEvictionAPI"),
            "PodEvicted",
            "evicted",
            id="evicted by the API",
        ),
        pytest.param(
            pod(0).failed(137).with_(disruption="DeletionByTaintManager"),
            "NodeLost",
            "lost with node node-1",
            id="node lost",
        ),
        pytest.param(
            pod(0).with_(phase="Failed", reason="NodeLost"), "NodeLost", "node unknown", id="node lost, unnamed"
        ),
        pytest.param(
            pod(0).failed(255, reason="Unknown"),
            "NodeLost",
            "worker 0 in pod digits-0-0 was lost: node node-1 restarted, or lost its container",
            id="node restarted",
        ),
        pytest.param(
            pod(0).failed(137, reason="ContainerStatusUnknown"),
            "NodeLost",
            "node node-1 restarted, or lost its container",
            id="container lost",
        ),
        pytest.param(
            pod(0).failed(137, reason="ContainerStatusUnknown").with_(disruption="DeletionByTaintManager"),
            "NodeLost",
            "was lost with node node-1",
            id="container lost with its node",
        ),
        pytest.param(
            pod(0).failed(137, reason="ContainerStatusUnknown").deleting(),
            "PodDeleted",
            "was deleted",
            id="deleted, and nobody saw the end",
        ),
        pytest.param(pod(0).failed(192), "WorkerFailed", "exited 192 (signal 64)", id="the last signal"),
        pytest.param(pod(0).failed(255), "WorkerFailed", "digits-0-0 exited 255", id="exit(-1): no signal"),
        pytest.param(pod(0).failed(143).deleting(), "PodDeleted", "was deleted", id="deleted and ended"),
        pytest.param(
            pod(0).with_(phase="Failed", reason="UnexpectedAdmissionError"),
            "PodFailed",
            "(UnexpectedAdmissionError)",
            id="refused by the kubelet",
        ),
        pytest.param(pod(0).with_(phase="Failed"), "PodFailed", "(no reason given)", id="no word at all"),
        pytest.param(
            pod(0).failed(143, message=termination("terminated")), "PodFailed", "exited 143", id="stopped from outside"
        ),
        pytest.param(pod(0).running().deleting(), "PodDeleted", "was deleted", id="being deleted"),
        pytest.param(
            pod(0).running().deleting().with_(disruption="DeletionByTaintManager"),
            "NodeLost",
            "lost with node node-1",
            id="being deleted, node lost",
        ),
        pytest.param(
            pod(0).running().deleting().with_(disruption="EvictionByEvictionAPI"),
            "PodEvicted",
            "evicted from node node-1",
            id="being evicted",
        ),
        pytest.param(
            pod(0).running().deleting().with_(disruption="PreemptionByScheduler"),
            "Preempted",
            "preempted on node node-1 by a pod of higher priority",
            id="being preempted",
        ),
        pytest.param(
            pod(0).failed(143).with_(disruption="PreemptionByScheduler"), "Preempted", "higher priority", id="preempted"
        ),
    ],
)
def test_the_cause_is_told_in_one_word_and_one_sentence(builder: PodBuilder, cause: str, says: str) -> None:
    found = first(builder)
    assert found is not None
    assert found.cause == cause
    assert says in found.sentence
    assert not found.final


def test_a_code_that_is_no_signals_is_told_as_it_is() -> None:
    for code in (1, 128, 193, 255):
        found = first(pod(0).failed(code))
        assert found is not None
        assert "signal" not in found.sentence


def test_a_container_that_was_lost_has_no_exit_code() -> None:
    found = first(pod(0).failed(255, reason="Unknown"))
    assert found is not None
    assert found.exit_code is None


def test_the_lead_that_hears_nothing_from_a_lost_container_tells_of_the_node() -> None:
    silent = {"rank": 2, "exitCode": 75, "reason": "AgentLost", "message": "silent for 21 s"}
    found = first(pod(0).failed(75, at=1, message=termination(failure=silent)), pod(1).failed(255, reason="Unknown"))
    assert found is not None
    assert (found.cause, found.pod, found.rank) == ("NodeLost", "digits-0-1", 2)


def test_a_worker_that_failed_before_its_container_was_lost_is_the_cause() -> None:
    told = {"rank": 2, "exitCode": 1, "reason": "Error", "message": "bad loss"}
    found = first(pod(0).failed(1, at=1, message=termination(failure=told)), pod(1).failed(255, reason="Unknown"))
    assert found is not None
    assert (found.cause, found.exit_code) == ("WorkerFailed", 1)


def test_a_pod_that_is_gone_counts_as_deleted() -> None:
    found = first(pod(0).running(), pod(2).running(), expected=3)
    assert found is not None
    assert (found.cause, found.pod, found.rank) == ("PodDeleted", "digits-0-1", 2)


def test_a_succeeded_pod_may_go() -> None:
    assert first(pod(0).succeeded().deleting(), pod(1).running()) is None


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        pytest.param("StorageError", "StorageError", id="storage"),
        pytest.param("InvalidConfig", "InvalidConfig", id="configuration"),
        pytest.param("CommandNotStarted", "InvalidConfig", id="command"),
        pytest.param("MissingCredentials", "MissingCredentials", id="credentials"),
    ],
)
def test_what_no_restart_mends_is_final(reason: str, cause: str) -> None:
    message = termination(failure={"rank": 0, "reason": reason, "message": "no such bucket"})
    found = first(pod(0).failed(70, message=message))
    assert found is not None
    assert (found.cause, found.final, found.details) == (cause, True, "no such bucket")


@pytest.mark.parametrize(
    ("message", "details"),
    [
        pytest.param("line 1\nline 2\n", "line 1\nline 2", id="a log's end"),
        pytest.param(termination(failure={"lastLines": ["a", "b"]}), "a\nb", id="last lines"),
        pytest.param(
            termination(failure={"reason": "Stalled", "message": "rank 3 is stopped", "lastLines": ["stack"]}),
            "rank 3 is stopped\nstack",
            id="who hangs, and its stack",
        ),
        pytest.param(termination(), "Error", id="nothing told"),
        pytest.param("", "Error", id="no message"),
    ],
)
def test_details_are_the_best_that_is_known(message: str, details: str) -> None:
    found = first(pod(0).failed(1, message=message))
    assert found is not None
    assert found.details == details


STALL = {"reason": "Stalled", "rank": 3, "exitCode": 76, "message": "no report for 31 s: rank 3 is behind",
         "time": "2026-01-02T03:04:06Z"}  # fmt: skip


def test_a_stall_is_told_with_the_words_of_the_pod_that_has_the_stacks() -> None:
    stacks = {**STALL, "lastLines": ["Thread 0x01 (most recent call first):", '  File "train.py", line 7 in wait']}
    pods = [
        pod(0).failed(76, message=termination(failure=STALL)),
        pod(1).running("node-2").failed(76, message=termination(failure=stacks)),
    ]
    found = first(*pods)
    assert found is not None
    assert (found.cause, found.rank, found.pod, found.final) == ("Stalled", 3, "digits-0-1", False)
    assert found.sentence == "worker 3 in pod digits-0-1 hangs: no report for 31 s: rank 3 is behind"
    assert found.details.endswith("line 7 in wait")


@pytest.mark.parametrize(
    ("told", "rank", "unreachable"),
    [
        pytest.param({"reason": "AgentLost", "rank": 2, "message": "pod 1 has fallen silent"}, 2, 1, id="pod 1"),
        pytest.param({"reason": "LeadLost", "message": "pod 0 does not answer"}, 0, 0, id="the lead"),
    ],
)  # fmt: skip
def test_a_pod_that_fell_silent_is_named_not_the_one_that_tells_it(
    told: dict[str, object], rank: int, unreachable: int
) -> None:
    teller = 1 - unreachable
    pods = [pod(0).running("node-1"), pod(1).running("node-2")]
    pods[teller] = pods[teller].failed(75, message=termination(failure={**told, "exitCode": 75}))
    found = first(*pods)
    assert found is not None
    assert (found.cause, found.rank, found.pod) == ("PodUnreachable", rank, f"digits-0-{unreachable}")
    assert "cannot be reached: " in found.sentence
