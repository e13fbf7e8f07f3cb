"""`paceline wait`: has the job got where the user waits for it?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from paceline.api import TrainJob
from paceline.client.errors import JOB_FAILED, OK


class Goal(str, Enum):
    """What can be waited for."""

    SUCCEEDED = "Succeeded"
    RUNNING = "Running"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The wait is over: how the command ends and why."""

    exit_code: int
    message: str


def decide(job: TrainJob, goal: Goal) -> Verdict | None:
    """Return how the wait ends, None while it goes on.

    A job that is over before it got there does not get there any more: that is a failure, also when it succeeded.
    """
    status = job.status
    if goal is Goal.CHECKPOINT and status.checkpoint is not None:
        return Verdict(OK, f"{job.name} has checkpoint {status.checkpoint.index}: {status.checkpoint.path}")
    if status.phase == "Failed":
        return Verdict(JOB_FAILED, f"{job.name} failed: {_why(job)}")
    if status.phase == "Succeeded":
        if goal is Goal.CHECKPOINT:
            return Verdict(JOB_FAILED, f"{job.name} succeeded without a checkpoint: train.report() was given none")
        return Verdict(OK, f"{job.name} succeeded")
    if goal is Goal.RUNNING and status.phase == "Running":
        return Verdict(OK, f"{job.name} runs")
    return None


def _why(job: TrainJob) -> str:
    condition = job.status.condition("Failed")
    if condition is None:
        return "the status says no more"
    return f"{condition.reason}: {condition.message}" if condition.message else condition.reason
