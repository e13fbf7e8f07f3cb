"""The status as it should stand: counts, phase, conditions and progress of the current attempt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from paceline.api import FailureRecord, Progress, Result, TrainJob, TrainJobStatus, Uploads, WorkerCounts, reasons
from paceline_operator.planning import cost
from paceline_operator.planning.conditions import Conditions
from paceline_operator.policies import credentials, straggling, tracking
from paceline_operator.policies.failure import Failure
from paceline_operator.policies.observed import AgentReport, Observed, PodSeen
from paceline_operator.policies.problems import Problem
from paceline_operator.policies.restart import RestartGroup


def with_(status: TrainJobStatus, **changes: Any) -> TrainJobStatus:
    """Return the status with fields changed; times are cut to what the schema keeps."""
    fields = {name: getattr(status, name) for name in TrainJobStatus.model_fields}
    return TrainJobStatus(**{**fields, **changes})


def report_of(seen: Observed, current: Sequence[PodSeen]) -> AgentReport | None:
    """Return the lead's last word: its termination message once it has ended, else its newest answer."""
    last = cost.last_word(current)
    if last is None or seen.report is None:
        return last or seen.report
    # What the uploads cost is told by the living agent alone.
    runs = tuple(tracking.merged(seen.report.tracking, last.tracking))
    return replace(last, uploads=last.uploads or seen.report.uploads, tracking=runs)


def told(status: TrainJobStatus, report: AgentReport | None) -> TrainJobStatus:
    """Return the status with what the lead told: progress, checkpoints and runs of trackers."""
    if report is None:
        return status
    return with_(
        status,
        progress=report.progress or status.progress,
        checkpoint=report.checkpoint or status.checkpoint,
        best_checkpoint=report.best_checkpoint or status.best_checkpoint,
        uploads=report.uploads or status.uploads,
        tracking=tracking.merged(status.tracking, report.tracking),
    )


def standing(
    job: TrainJob,
    status: TrainJobStatus,
    current: Sequence[PodSeen],
    seen: Observed,
    problem: Problem | None,
    now: datetime,
) -> TrainJobStatus:
    """Return the status of a job whose pods exist or are being made."""
    spec, per_pod = job.spec, job.spec.workers.per_pod
    counts = count(current, spec.workers.count, per_pod)
    complete = seen.complete or len(current) == spec.pods
    running = complete and counts.running + counts.succeeded == counts.desired
    scheduled = complete and counts.scheduled == counts.desired
    conditions = Conditions(status.conditions, now, job.metadata.generation)
    conditions.drop(reasons.INVALID_SPEC)  # Of an operator that could not read the job.
    _scheduled(conditions, counts, scheduled, problem)
    _running(conditions, counts, running, problem, status)
    _checkpoint_available(conditions, status)
    conditions.clear(reasons.SUSPENDED, reasons.RESUMED)
    _straggling(conditions, straggling.decide(status.condition(reasons.STRAGGLING), seen.report, current, per_pod))
    lacking = status.condition(reasons.MISSING_CREDENTIALS)
    _credentials(conditions, credentials.decide(lacking, problem, seen.report, running=running))
    was = status.phase
    if running:
        phase = "Running"
    elif scheduled:
        phase = "Starting"
    elif complete:
        phase = "Scheduling"
    else:
        phase = "Restarting" if was == "Restarting" else "Pending"
    first = min((pod.created for pod in current if pod.created), default=None)
    return with_(
        status,
        phase=phase,
        conditions=conditions.values(),
        observed_generation=job.metadata.generation,
        start_time=status.start_time or first,
        running_time=(status.running_time or now) if running else status.running_time,
        workers=counts,
        next_attempt_time=None if complete else status.next_attempt_time,
        history=_downtime(status.history, status, now) if running else status.history,
    )


def count(current: Sequence[PodSeen], desired: int, per_pod: int) -> WorkerCounts:
    """Count workers; those of a pod count together."""
    return WorkerCounts(
        desired=desired,
        scheduled=per_pod * sum(bool(pod.node) for pod in current),
        running=per_pod * sum(pod.running for pod in current),
        succeeded=per_pod * sum(pod.succeeded for pod in current),
        failed=per_pod * sum(pod.failed for pod in current),
    )


def _scheduled(conditions: Conditions, counts: WorkerCounts, scheduled: bool, problem: Problem | None) -> None:
    if scheduled:
        conditions.set(reasons.SCHEDULED, True, reasons.ALL_WORKERS_SCHEDULED)
    elif problem and problem.condition == "Scheduled":
        conditions.set(reasons.SCHEDULED, False, problem.reason, problem.message)
    else:
        conditions.set(
            reasons.SCHEDULED,
            False,
            reasons.WAITING_FOR_NODES,
            f"{counts.scheduled} of {counts.desired} workers have a node",
        )


def _running(
    conditions: Conditions, counts: WorkerCounts, running: bool, problem: Problem | None, status: TrainJobStatus
) -> None:
    if running:
        conditions.set(reasons.RUNNING, True, reasons.ALL_WORKERS_RUNNING)
    elif problem and problem.condition == "Running":
        conditions.set(reasons.RUNNING, False, problem.reason, problem.message)
    else:
        conditions.set(
            reasons.RUNNING, False, reasons.WAITING_FOR_WORKERS, f"{counts.running} of {counts.desired} workers run"
        )


def _straggling(conditions: Conditions, news: straggling.Begins | straggling.Ends | None) -> None:
    if isinstance(news, straggling.Begins):
        conditions.set(reasons.STRAGGLING, True, reasons.WORKER_BEHIND, news.message)
    elif news is not None:
        conditions.set(reasons.STRAGGLING, False, reasons.CAUGHT_UP, news.message)


def _credentials(conditions: Conditions, news: credentials.Lacks | credentials.Found | None) -> None:
    if isinstance(news, credentials.Lacks):
        conditions.set(reasons.MISSING_CREDENTIALS, True, news.reason, news.message)
    elif news is not None:
        conditions.set(reasons.MISSING_CREDENTIALS, False, reasons.FOUND, news.message)


def _downtime(history: list[FailureRecord], status: TrainJobStatus, now: datetime) -> list[FailureRecord]:
    """The first time that all workers run again ends the downtime of the attempt before."""
    if not history or history[-1].downtime_seconds is not None or history[-1].attempt >= status.attempt:
        return history
    seconds = round(max(0.0, (now - history[-1].time).total_seconds()), 1)
    return [*history[:-1], history[-1].model_copy(update={"downtime_seconds": seconds})]


def record(status: TrainJobStatus, failure: Failure, now: datetime, *, heard: bool) -> FailureRecord:
    """Return the history's entry for the attempt that `failure` ended.

    Args:
        status: With all that is known of the attempt.
        failure: What ended it.
        now: UTC.
        heard: Whether this operator has heard of its progress. Else what is on record may be an earlier attempt's.
    """
    checkpoint, progress = status.checkpoint, status.progress
    step = progress.step if progress and (heard or _of_this_attempt(status, progress)) else None
    since = checkpoint.step if checkpoint and checkpoint.step is not None else 0
    return FailureRecord(
        attempt=status.attempt,
        time=now,
        cause=failure.cause,
        rank=failure.rank,
        pod=failure.pod,
        node=failure.node,
        exit_code=failure.exit_code,
        message=failure.details or failure.sentence,
        resumed_from=checkpoint.index if checkpoint else None,
        lost_steps=max(0, step - since) if step is not None else None,
    )


def _of_this_attempt(status: TrainJobStatus, progress: Progress) -> bool:
    return not status.history or progress.time is None or progress.time > status.history[-1].time


def restarting(
    job: TrainJob,
    status: TrainJobStatus,
    failure: Failure,
    history: list[FailureRecord],
    decision: RestartGroup,
    now: datetime,
) -> TrainJobStatus:
    """Return the status that puts the next attempt on record."""
    after, account = decision.after, decision.account
    conditions = Conditions(status.conditions, now, job.metadata.generation)
    reason = reasons.BACKOFF if after else reasons.RESTARTING
    if failure.cause == reasons.UNSCHEDULABLE:
        conditions.set(reasons.SCHEDULED, False, failure.cause, failure.sentence)
    else:
        conditions.set(reasons.SCHEDULED, False, reason)
    conditions.set(reasons.RUNNING, False, reason, failure.sentence)
    conditions.clear(reasons.STRAGGLING, reasons.RESTARTING)
    return with_(
        status,
        phase="Restarting",
        conditions=conditions.values(),
        observed_generation=job.metadata.generation,
        attempt=status.attempt + 1,
        restarts=status.restarts + (account == "restart"),
        preemptions=status.preemptions + (account == "preemption"),
        next_attempt_time=now + after if after else None,
        running_time=None,
        workers=WorkerCounts(desired=job.spec.workers.count),
        uploads=None,
        history=[*history[:-1], history[-1].model_copy(update={"counted_as": account})],
    )


def suspended(job: TrainJob, status: TrainJobStatus, now: datetime) -> TrainJobStatus:
    """Return the status of a suspended job."""
    conditions = Conditions(status.conditions, now, job.metadata.generation)
    conditions.set(
        reasons.SUSPENDED, True, reasons.SUSPENDED_BY_USER, "spec.suspend is true: unset it, the job then goes on"
    )
    conditions.clear(reasons.SCHEDULED, reasons.SUSPENDED_BY_USER)
    conditions.clear(reasons.RUNNING, reasons.SUSPENDED_BY_USER)
    conditions.clear(reasons.STRAGGLING, reasons.SUSPENDED_BY_USER)
    conditions.clear(reasons.MISSING_CREDENTIALS, reasons.SUSPENDED_BY_USER)
    return with_(
        status,
        phase="Suspended",
        conditions=conditions.values(),
        observed_generation=job.metadata.generation,
        workers=WorkerCounts(desired=job.spec.workers.count),
        running_time=None,
        next_attempt_time=None,
        uploads=None,
    )


def resumed(job: TrainJob, status: TrainJobStatus, attempt: int, suspended_s: int, now: datetime) -> TrainJobStatus:
    """Return the status with which a suspended job goes on."""
    conditions = Conditions(status.conditions, now, job.metadata.generation)
    conditions.clear(reasons.SUSPENDED, reasons.RESUMED)
    return with_(
        status,
        phase="Pending",
        conditions=conditions.values(),
        observed_generation=job.metadata.generation,
        attempt=attempt,
        suspended_seconds=suspended_s,
    )


def succeeded(job: TrainJob, status: TrainJobStatus, run_path: str | None, now: datetime) -> TrainJobStatus:
    """Return the final status of a job whose workers all succeeded."""
    return _over(
        job, status, "Succeeded", reasons.ALL_WORKERS_SUCCEEDED, f"all {job.spec.workers.count} workers succeeded", now
    ).model_copy(
        update={
            "result": Result(path=run_path, metrics=status.progress.metrics if status.progress else {}),
            "workers": WorkerCounts(
                desired=job.spec.workers.count, scheduled=job.spec.workers.count, succeeded=job.spec.workers.count
            ),
        }
    )


def failed(
    job: TrainJob,
    status: TrainJobStatus,
    reason: str,
    message: str,
    now: datetime,
    *,
    run_path: str | None = None,
    failure: Failure | None = None,
) -> TrainJobStatus:
    """Return the final status of a failed job."""
    metrics = status.progress.metrics if status.progress else {}
    error = failure.error if failure else None
    return _over(job, status, "Failed", reason, message, now).model_copy(
        update={"result": Result(path=run_path, metrics=metrics, error=error)}
    )


def with_last_word(job: TrainJob, last: AgentReport | None, now: datetime) -> TrainJobStatus:
    """Return the status of a job that is over, with what was committed and logged while its group ended.

    Phase, reason and result stay as they are. The newest checkpoint is one to go on from, whatever ended the job.

    Args:
        last: The last word of the lead of its last attempt.
    """
    status = job.status
    if last is None:
        return status
    if (runs := tracking.merged(status.tracking, last.tracking)) != status.tracking:
        status = with_(status, tracking=runs)
    stored, known = last.checkpoint, status.checkpoint
    if stored is None or (known is not None and known.index >= stored.index):
        return status
    status = told(status, last)
    conditions = Conditions(status.conditions, now, job.metadata.generation)
    _checkpoint_available(conditions, status)
    return with_(status, conditions=conditions.values())


def _checkpoint_available(conditions: Conditions, status: TrainJobStatus) -> None:
    if status.checkpoint is not None:
        conditions.set(reasons.CHECKPOINT_AVAILABLE, True, reasons.CHECKPOINT_COMMITTED, status.checkpoint.path)


def _over(
    job: TrainJob, status: TrainJobStatus, phase: str, reason: str, message: str, now: datetime
) -> TrainJobStatus:
    conditions = Conditions(status.conditions, now, job.metadata.generation)
    ended_well = phase == "Succeeded"
    conditions.clear(reasons.RUNNING, reasons.FINISHED)
    conditions.clear(reasons.STRAGGLING, reasons.FINISHED)
    if reason == reasons.MISSING_CREDENTIALS:
        conditions.set(reasons.MISSING_CREDENTIALS, True, reason, message)
    if ended_well:
        conditions.clear(reasons.MISSING_CREDENTIALS, reasons.FINISHED)
        conditions.set(reasons.SCHEDULED, True, reasons.ALL_WORKERS_SCHEDULED)
    _checkpoint_available(conditions, status)
    conditions.set(reasons.SUCCEEDED if ended_well else reasons.FAILED, True, reason, message)
    return with_(
        status,
        phase=phase,
        conditions=conditions.values(),
        observed_generation=job.metadata.generation,
        completion_time=now,
        next_attempt_time=None,
        # The agents are gone: nothing waits any more, stored or not.
        uploads=Uploads(wait_seconds=status.uploads.wait_seconds) if status.uploads else None,
    )
