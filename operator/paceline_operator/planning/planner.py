"""What is to be done for one job now?

The order of the questions is the meaning: success, suspend, deadline, resume, failure, and only then going on.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from paceline.api import FailurePolicy, TrainJob, TrainJobStatus, check, reasons, warnings
from paceline.api import Problem as SpecProblem
from paceline_operator import contract
from paceline_operator.planning import cost
from paceline_operator.planning import status as statuses
from paceline_operator.planning.plan import Note, Plan
from paceline_operator.policies import (
    cleanup,
    credentials,
    deadline,
    failure,
    gang,
    observed,
    problems,
    restart,
    starting,
    success,
    suspend,
    ttl,
    writes,
)
from paceline_operator.policies.config import JobDefaults
from paceline_operator.policies.failure import Failure
from paceline_operator.policies.observed import Observed, PodSeen
from paceline_operator.policies.problems import Problem
from paceline_operator.resources import store, tensorboard

RETRY_REFUSED = timedelta(seconds=5)
# Whether PodGroups are served is asked for once a minute.
RETRY_GROUP = timedelta(seconds=30)
CATCH_UP = timedelta(seconds=1)


def plan(job: TrainJob, seen: Observed, now: datetime, config: JobDefaults) -> Plan:
    """Decide what to do for `job`.

    Args:
        job: The newest known body: its status is what was put on record last.
        seen: Its pods and what is remembered of it.
        now: UTC.
        config: The operator's configuration.
    """
    if job.metadata.deletion_timestamp is not None:
        return Plan()
    if any(pod.attempt > job.status.attempt for pod in seen.pods) and not job.status.finished:
        return Plan(refresh=True)
    decided = _finished(job, seen, now) if job.status.finished else _going(job, seen, now, config)
    return _grouped(job, seen, decided)


def _grouped(job: TrainJob, seen: Observed, decided: Plan) -> Plan:
    """Whatever was decided: pods are made with their PodGroup, and PodGroups of other attempts go."""
    attempt = decided.status.attempt if decided.status else job.status.attempt
    every = job.status.finished and job.spec.clean_pod_policy == "All"
    decided = replace(decided, delete_groups=seen.groups if every else gang.past(seen.groups, job.name, attempt))
    if not decided.create:
        return decided
    way = gang.way(job.spec, seen.of(decided.attempt), seen.pod_groups)
    if way is gang.Way.UNAVAILABLE:
        return replace(decided, create=(), requeue_after=_sooner(decided.requeue_after, RETRY_GROUP))
    grouped = way is gang.Way.GROUP
    # Where none are served any more, that of the pods which are there came before them, out of reach now.
    unmade = seen.pod_groups and contract.group_name(job.name, decided.attempt) not in seen.groups
    return replace(decided, grouped=grouped, make_group=grouped and unmade)


def _going(job: TrainJob, seen: Observed, now: datetime, config: JobDefaults) -> Plan:
    """Decide for a job that is not over."""
    seen = replace(seen, complete=seen.complete or job.status.phase in observed.COMPLETE)
    current = seen.of(job.status.attempt)
    report = statuses.report_of(seen, current)
    status = statuses.told(cost.corrected(job.status, seen.of(job.status.attempt - 1), report), report)
    if not current and not status.start_time and (wrong := _wrong(job, config)):
        return _fail(job, status, seen, reasons.INVALID_SPEC, "; ".join(map(str, wrong)), now, config)
    if success.decide(current, job.spec.pods):
        return _succeed(job, status, seen, now, config)
    limit = deadline.decide(job.spec.active_deadline_seconds, _started(status, current), status.suspended_seconds, now)
    if job.spec.suspend:
        return _suspend(job, status, seen, now)
    if isinstance(limit, deadline.Exceeded) and status.phase != "Suspended":
        return _fail(job, status, seen, reasons.DEADLINE_EXCEEDED, limit.message, now, config)
    if status.phase == "Suspended" and not status.start_time and current:
        # Suspended while it was created: its names are taken, though the record does not say so yet.
        status = statuses.with_(status, start_time=_started(status, current))
    turn = suspend.decide(job.spec.suspend, status, now)
    if isinstance(turn, suspend.Resume):
        return _resume(job, status, turn, seen, now)
    # A pod that is not shown yet is not missing.
    blind = seen.behind and len(current) < job.spec.pods and job.status.phase in observed.COMPLETE
    judged = replace(seen, complete=False) if blind else seen
    broken = failure.first(judged, job.name, status.attempt, job.spec.pods, job.spec.workers.per_pod)
    if broken is not None:
        return _broken(job, status, seen, broken, now, config)
    if blind:
        return Plan(requeue_after=CATCH_UP)
    problem = _problem(job, seen, current, config)
    look = limit.look_again if isinstance(limit, deadline.Within) else None
    for late in (
        gang.decide(job, current, problem, now),
        starting.decide(job, status, current, problem, seen.warnings, now),
    ):
        if isinstance(late, Failure):
            return _broken(job, status, seen, late, now, config)
        if isinstance(late, starting.Ask):
            return Plan(inspect=(late.pod,), requeue_after=timedelta(0))
        look = _sooner(look, late.look_again)
    going_on = _go_on(job, status, seen, current, problem, now, config)
    return replace(going_on, requeue_after=_sooner(going_on.requeue_after, look))


def _wrong(job: TrainJob, config: JobDefaults) -> list[SpecProblem]:
    # On a volume of the operator's own default no other pod could look.
    shown = config.storage_path is not None and not config.storage_path.startswith("/")
    return check(job.spec, accelerators=config.accelerators, default_storage=shown)


def _problem(job: TrainJob, seen: Observed, current: tuple[PodSeen, ...], config: JobDefaults) -> Problem | None:
    if not seen.complete and gang.way(job.spec, current, seen.pod_groups) is gang.Way.UNAVAILABLE:
        return gang.unavailable()
    found = problems.decide(current, seen.refusals, seen.warnings)
    return credentials.explained(found, job, config.storage_secret if job.spec.storage.path is None else None)


def _started(status: TrainJobStatus, current: tuple[PodSeen, ...]) -> datetime | None:
    return status.start_time or min((pod.created for pod in current if pod.created), default=None)


def _finished(job: TrainJob, seen: Observed, now: datetime) -> Plan:
    end = ttl.decide(job.spec.ttl_seconds_after_finished, job.status.completion_time, now)
    if isinstance(end, ttl.Delete):
        return Plan(delete_job=True)
    gone = cleanup.when_finished(job.spec.clean_pod_policy, seen.pods, now)
    status = statuses.with_last_word(job, cost.last_word(seen.of(job.status.attempt)), now)
    return Plan(
        status=status if status != job.status else None,
        delete=gone,
        delete_service=job.spec.clean_pod_policy == "All" and seen.service,
        requeue_after=_sooner(end.look_again, cleanup.look_again(job.spec.clean_pod_policy, seen.pods, now)),
    )


def _succeed(job: TrainJob, status: TrainJobStatus, seen: Observed, now: datetime, config: JobDefaults) -> Plan:
    started = _started(status, seen.of(status.attempt))
    status = statuses.with_(status, start_time=started, running_time=status.running_time or started)
    over = statuses.succeeded(job, status, _run_path(job, config), now)
    took = f" in {_duration(now - started)}" if started else ""
    restarts = f", {status.restarts} restarts" if status.restarts else ""
    checkpoint = f"; latest checkpoint {status.checkpoint.path}" if status.checkpoint else ""
    note = Note("Normal", "Succeeded", f"All {job.spec.workers.count} workers succeeded{took}{restarts}{checkpoint}")
    return Plan(status=over, events=(note,), delete=cleanup.when_finished(job.spec.clean_pod_policy, seen.pods, now))


def _fail(
    job: TrainJob,
    status: TrainJobStatus,
    seen: Observed,
    reason: str,
    message: str,
    now: datetime,
    config: JobDefaults,
    broken: Failure | None = None,
) -> Plan:
    over = statuses.failed(job, status, reason, message, now, run_path=_run_path(job, config), failure=broken)
    current = seen.of(status.attempt)
    counts = statuses.count(current, job.spec.workers.count, job.spec.workers.per_pod)
    over = statuses.with_(over, workers=counts, start_time=_started(status, current))
    return Plan(
        status=over,
        events=(Note("Warning", reason, message),),
        delete=cleanup.when_finished(job.spec.clean_pod_policy, seen.pods, now),
    )


def _suspend(job: TrainJob, status: TrainJobStatus, seen: Observed, now: datetime) -> Plan:
    # Pods that ended stay for their logs; the others go with the grace in which they save.
    gone = tuple(pod for pod in seen.pods if not pod.deleting and not pod.over)
    started = _started(status, seen.of(status.attempt))
    wanted = statuses.suspended(job, statuses.with_(status, start_time=started), now)
    if status.phase == "Suspended":
        return replace(_written(job, wanted, seen, now), delete=gone)
    pods = f": {len(gone)} pods are stopped" if gone else ""
    return Plan(status=wanted, events=(Note("Normal", "Suspended", f"spec.suspend is true{pods}"),), delete=gone)


def _resume(job: TrainJob, status: TrainJobStatus, turn: suspend.Resume, seen: Observed, now: datetime) -> Plan:
    wanted = statuses.resumed(job, status, turn.attempt, turn.suspended_s, now)
    from_where = f" from checkpoint {status.checkpoint.path}" if status.checkpoint else ""
    return Plan(
        status=wanted,
        events=(Note("Normal", reasons.RESUMED, f"Going on as attempt {turn.attempt}{from_where}"),),
        service=not seen.service,
        attempt=turn.attempt,
        create=tuple(range(job.spec.pods)),
        delete=cleanup.of_past_attempts(seen.pods, turn.attempt, now),
    )


def _broken(
    job: TrainJob, status: TrainJobStatus, seen: Observed, broken: Failure, now: datetime, config: JobDefaults
) -> Plan:
    current = seen.of(status.attempt)
    started, report = _started(status, current), statuses.report_of(seen, current)
    heard = report is not None and report.progress is not None
    history = gang.folded(status.history, statuses.record(status, broken, now, heard=heard))
    status = statuses.with_(status, start_time=started or now)
    policy = job.spec.failure_policy
    decision = restart.decide(broken, history, restarts=status.restarts, preemptions=status.preemptions, policy=policy)
    if isinstance(decision, restart.FailJob):
        recorded = statuses.with_(status, history=history)
        return _fail(job, recorded, seen, decision.reason, decision.message, now, config, broken)
    decision = replace(decision, after=gang.pause(job, broken.cause, decision.after, history))
    wanted = statuses.restarting(job, status, broken, history, decision, now)
    where = f"from {status.checkpoint.path}" if status.checkpoint else "from the start"
    wait = f" after {decision.after.total_seconds():g} s" if decision.after else ""
    counted = _counted(wanted, policy, decision)
    note = Note("Warning", broken.cause, f"{broken.sentence}; restarting{wait} {where} ({counted})")
    return Plan(
        status=wanted,
        events=(note,),
        service=not seen.service,
        attempt=wanted.attempt,
        create=() if decision.after else tuple(range(job.spec.pods)),
        delete=cleanup.of_past_attempts(seen.pods, wanted.attempt, now),
        requeue_after=decision.after or None,
    )


def _counted(status: TrainJobStatus, policy: FailurePolicy, decision: restart.RestartGroup) -> str:
    if decision.account == "uncounted":
        return "not counted" + (f", by failurePolicy.rules[{decision.rule}]" if decision.rule is not None else "")
    preempted = decision.account == "preemption"
    number, allowed = (
        (status.preemptions, policy.max_preemptions) if preempted else (status.restarts, policy.max_restarts)
    )
    return f"{decision.account} {number}" + (f" of {allowed}" if allowed >= 0 else "")


def _go_on(
    job: TrainJob,
    status: TrainJobStatus,
    seen: Observed,
    current: tuple[PodSeen, ...],
    problem: Problem | None,
    now: datetime,
    config: JobDefaults,
) -> Plan:
    past = cleanup.of_past_attempts(seen.pods, status.attempt, now)
    if status.next_attempt_time is not None and status.next_attempt_time > now and not current:
        waiting = _written(job, status, seen, now)
        return replace(
            waiting, delete=past, requeue_after=_sooner(waiting.requeue_after, status.next_attempt_time - now)
        )
    there = {pod.index for pod in current}
    missing = () if seen.complete else tuple(index for index in range(job.spec.pods) if index not in there)
    if problem is not None and problem.final:
        return _fail(job, status, seen, problem.reason, problem.message, now, config)
    mounts = credentials.mounts(job.spec) or store.key_file(job, config) is not None
    inspect, look = problems.to_inspect(current, now, mounts=mounts, looked=seen.looked)
    if inspect_group := problems.group_to_inspect(current, now):
        look = _sooner(look, problems.LOOK_AGAIN)
    standing = statuses.standing(job, status, current, seen, problem, now)
    going = _written(job, standing, seen, now)
    retry = RETRY_REFUSED if seen.refusals else None
    show, later = tensorboard.due(job, seen, now, config)
    notes = _story(job, standing, problem, going, config)
    return replace(
        going,
        events=notes,
        service=not seen.service,
        tensorboard=show,
        attempt=status.attempt,
        create=missing,
        delete=past,
        inspect=inspect,
        inspect_group=inspect_group,
        requeue_after=_sooner(_sooner(going.requeue_after, retry), _sooner(look, later)),
    )


def _written(job: TrainJob, wanted: TrainJobStatus, seen: Observed, now: datetime) -> Plan:
    """Return a plan that writes the status if it is worth a write, and else looks again when it is."""
    moved = seen.moved_at if seen.waiting == (wanted.phase, wanted.workers) else None
    wait = writes.wait(
        job.status, wanted, last_write=seen.last_write, changed_since=seen.changed_since, moved_at=moved, now=now
    )
    if wait is None:
        return Plan()
    return Plan(waiting=(wanted.phase, wanted.workers), requeue_after=wait) if wait else Plan(status=wanted)


def _story(
    job: TrainJob, new: TrainJobStatus, problem: Problem | None, going: Plan, config: JobDefaults
) -> tuple[Note, ...]:
    if going.status is None:
        return ()
    notes = []
    if job.status.observed_generation != job.metadata.generation:
        notes += [Note("Warning", reasons.RULE_SHADOWED, str(found)) for found in warnings(job.spec)]
        if job.spec.tracking.tensorboard.serve and not config.tensorboard:
            notes.append(Note("Warning", reasons.TENSORBOARD_UNAVAILABLE, tensorboard.DISABLED))
    # That a Secret is missing is told with the condition MissingCredentials.
    if problem is not None and problem.reason != reasons.MISSING_SECRET and not _known(job.status, problem):
        notes.append(Note("Warning", problem.reason, problem.message))
    notes += _straggling(job.status, new)
    notes += _credentials(job.status, new)
    if new.phase != "Running" or job.status.phase == "Running":
        return tuple(notes)
    if new.attempt == 0 and not job.status.conditions:
        # A start that took longer has its story in the conditions already, and costs no write more.
        began, ran = new.start_time, new.running_time
        took = f", {_duration(ran - began)} after their creation" if began and ran else ""
        pods = "1 pod" if job.spec.pods == 1 else f"{job.spec.pods} pods"
        workers = "The worker runs" if new.workers.desired == 1 else f"All {new.workers.desired} workers run"
        notes.append(Note("Normal", "Running", f"{workers} in {pods}{took}"))
    elif new.attempt > 0:
        last = new.history[-1] if new.history else None
        down = f", {last.downtime_seconds:g} s after the failure" if last and last.downtime_seconds is not None else ""
        resumed = f"; resumed from checkpoint {last.resumed_from}" if last and last.resumed_from is not None else ""
        notes.append(Note("Normal", "Running", f"All {new.workers.desired} workers run again{down}{resumed}"))
    return tuple(notes)


def _straggling(old: TrainJobStatus, new: TrainJobStatus) -> list[Note]:
    before, after = (status.condition(reasons.STRAGGLING) for status in (old, new))
    if after is None or (before is not None and (before.reason, before.message) == (after.reason, after.message)):
        return []
    return [Note("Warning" if after.status == "True" else "Normal", after.reason, after.message)]


def _credentials(old: TrainJobStatus, new: TrainJobStatus) -> list[Note]:
    before, after = (status.condition(reasons.MISSING_CREDENTIALS) for status in (old, new))
    if after is None or after.status != "True":
        return []
    told = before is not None and (before.status, before.reason, before.message) == (
        "True",
        after.reason,
        after.message,
    )
    return [] if told else [Note("Warning", after.reason, after.message)]


def _known(status: TrainJobStatus, problem: Problem) -> bool:
    on_record = status.condition(problem.condition)
    return on_record is not None and on_record.reason == problem.reason


def _run_path(job: TrainJob, config: JobDefaults) -> str | None:
    path = store.path(job, config)
    if path is None:
        return None
    base, mark, options = path.partition("?")
    return f"{base.rstrip('/')}/{job.experiment_name}{mark}{options}"


def _duration(took: timedelta) -> str:
    seconds = max(0, int(took.total_seconds()))
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes) + [f"{seconds} s"]
    return " ".join(parts[:2])


def _sooner(one: timedelta | None, other: timedelta | None) -> timedelta | None:
    given = [wait for wait in (one, other) if wait is not None]
    return min(given, default=None)
