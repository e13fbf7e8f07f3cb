"""A worker that cannot use its task ends the job as InvalidConfig: worker, agent and operator mean the same."""

from __future__ import annotations

from paceline import _contract as c
from paceline.agent.failure import from_exit
from paceline.trainer import TaskError
from paceline_operator.policies.failure import FINAL

TOLD = {"type": TaskError.__name__, "message": "pickled by Python 3.11", "traceback": ""}


def test_a_task_error_is_final() -> None:
    failure = from_exit(0, c.EXIT_INVALID_CONFIG, time="", exception=TOLD, last_lines=[])
    assert (failure.reason, failure.message) == (c.REASON_CONFIG, "pickled by Python 3.11")
    assert FINAL[failure.reason] == "InvalidConfig"


def test_the_code_alone_or_the_type_alone_says_nothing() -> None:
    for code, type in ((64, "ValueError"), (1, TaskError.__name__)):
        assert from_exit(0, code, time="", exception=TOLD | {"type": type}, last_lines=[]).reason == c.REASON_ERROR
    assert from_exit(0, 64, time="", exception=None, last_lines=["usage: train.py"]).reason == c.REASON_ERROR
