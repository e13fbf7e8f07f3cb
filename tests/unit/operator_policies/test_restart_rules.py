from __future__ import annotations

from typing import Any

import pytest

from paceline.api import FailurePolicy, FailureRecord, reasons
from paceline_operator.policies import restart, rules
from paceline_operator.policies.failure import Failure
from tests.support.pods import at

CRASH = Failure("WorkerFailed", "digits-0-1", "worker 1 in pod digits-0-1 exited 1", exit_code=1)
OOM = Failure("OOMKilled", "digits-0-1", "worker 1 in pod digits-0-1 exited 137", exit_code=137)
LOST = Failure("NodeLost", "digits-0-1", "pod digits-0-1 was lost with node n1")
EVICTED = Failure("PodEvicted", "digits-0-1", "worker 1 in pod digits-0-1 was evicted", exit_code=137)
DELETED = Failure("PodDeleted", "digits-0-1", "pod digits-0-1 was deleted", exit_code=143)
STORE = Failure("StorageError", "digits-0-0", "worker 0 in pod digits-0-0 exited 70", exit_code=70, final=True)
HISTORY = [FailureRecord(attempt=0, time=at(0), cause="WorkerFailed")]


def decide(
    failure: Failure, *, restarts: int = 0, preemptions: int = 0, **policy: Any
) -> restart.RestartGroup | restart.FailJob:
    allowed = FailurePolicy.model_validate(policy)
    return restart.decide(failure, HISTORY, restarts=restarts, preemptions=preemptions, policy=allowed)


@pytest.mark.parametrize(
    ("failure", "account"),
    [(CRASH, "restart"), (OOM, "restart"), (DELETED, "restart"), (LOST, "preemption"), (EVICTED, "preemption")],
    ids=lambda value: getattr(value, "cause", value),
)
def test_a_machine_that_was_taken_is_counted_apart(failure: Failure, account: str) -> None:
    decision = decide(failure)
    assert isinstance(decision, restart.RestartGroup)
    assert decision.account == account


def test_each_account_has_its_own_limit() -> None:
    assert isinstance(decide(LOST, restarts=3, preemptions=1_000, maxRestarts=3), restart.RestartGroup)
    assert isinstance(decide(CRASH, restarts=1, preemptions=9, maxRestarts=2, maxPreemptions=9), restart.RestartGroup)
    over = decide(LOST, preemptions=2, maxPreemptions=2)
    assert isinstance(over, restart.FailJob)
    assert over.reason == reasons.MAX_PREEMPTIONS_REACHED
    assert over.message.endswith("was lost with node n1; all 2 restarts of failurePolicy.maxPreemptions are spent")
    never = decide(EVICTED, maxPreemptions=0)
    assert isinstance(never, restart.FailJob)
    assert never.message.endswith("failurePolicy.maxPreemptions is 0")


FAIL_ON_2 = {"exitCodes": [2, 3], "action": "Fail"}
FAIL_ON_BOTH = {"exitCodes": [1], "reasons": ["OOMKilled"], "action": "Fail"}
FAIL_ON_OOM = {"reasons": ["OOMKilled"], "action": "Fail"}


@pytest.mark.parametrize(
    ("given", "cause", "exit_code", "index"),
    [
        pytest.param([FAIL_ON_2], "WorkerFailed", 2, 0, id="an exit code"),
        pytest.param([FAIL_ON_2], "WorkerFailed", 1, None, id="another exit code"),
        pytest.param([FAIL_ON_2], "NodeLost", None, None, id="no exit code"),
        pytest.param([FAIL_ON_2, FAIL_ON_OOM], "OOMKilled", 137, 1, id="a reason"),
        pytest.param([FAIL_ON_OOM, {"exitCodes": [137], "action": "Restart"}], "OOMKilled", 137, 0, id="the first"),
        pytest.param([{"exitCodes": [137], "action": "Fail"}], "PodEvicted", 137, None, id="stopped from outside"),
        pytest.param([{"exitCodes": [143], "action": "Fail"}], "PodDeleted", 143, None, id="deleted"),
        pytest.param([FAIL_ON_BOTH], "WorkerFailed", 1, None, id="one of two"),
        pytest.param([FAIL_ON_BOTH], "OOMKilled", 1, 0, id="both"),
        pytest.param([], "WorkerFailed", 1, None, id="no rule"),
    ],
)  # fmt: skip
def test_the_first_rule_that_matches_decides(
    given: list[dict[str, Any]], cause: str, exit_code: int | None, index: int | None
) -> None:
    policy = FailurePolicy.model_validate({"rules": given})
    assert rules.matching(policy.rules, cause, exit_code) == index


def test_fail_ends_the_job_for_the_cause_itself() -> None:
    decision = decide(OOM, maxRestarts=-1, rules=[FAIL_ON_2, FAIL_ON_OOM])
    assert decision == restart.FailJob(
        "OOMKilled", "worker 1 in pod digits-0-1 exited 137; failurePolicy.rules[1] ends the job for that"
    )


def test_restart_counts_what_would_not_be_counted_so() -> None:
    decision = decide(LOST, rules=[{"reasons": ["NodeLost"], "action": "Restart"}])
    assert isinstance(decision, restart.RestartGroup)
    assert (decision.account, decision.rule) == ("restart", 0)
    spent = decide(LOST, restarts=3, rules=[{"reasons": ["NodeLost"], "action": "Restart"}])
    assert isinstance(spent, restart.FailJob)
    assert spent.reason == reasons.MAX_RESTARTS_REACHED


def test_uncounted_restarts_are_never_spent_and_wait_all_the_same() -> None:
    policy = FailurePolicy.model_validate(
        {"maxRestarts": 0, "rules": [{"exitCodes": [1], "action": "RestartUncounted"}]}
    )
    history = [FailureRecord(attempt=n, time=at(n), cause="WorkerFailed") for n in range(3)]
    decision = restart.decide(CRASH, history, restarts=0, preemptions=0, policy=policy)
    assert isinstance(decision, restart.RestartGroup)
    assert (decision.account, decision.after.total_seconds()) == ("uncounted", 2.0)


def test_a_rule_may_try_again_what_ends_the_job_otherwise() -> None:
    assert isinstance(decide(STORE), restart.FailJob)
    assert isinstance(decide(STORE, rules=[{"reasons": ["StorageError"], "action": "Restart"}]), restart.RestartGroup)
