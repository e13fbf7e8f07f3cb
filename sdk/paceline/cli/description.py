"""`paceline describe`: all about one job, in the order in which a person asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from paceline.api import Condition, FailureRecord, TrainJob, WorkerError, names
from paceline.cli import text
from paceline.client.advice import advice
from paceline.client.cluster import event_time
from paceline.client.connection import Object
from paceline.client.jobs import run_directory
from paceline.client.logtail import pod_state

INDENT = 2
# Conditions that are bad news when true; of the others, that they are not true yet is no news.
BAD_CONDITIONS = frozenset({"Failed", "Stalled", "MissingCredentials", "InvalidSpec", "Straggling"})
MAX_EVENTS = 25


@dataclass(frozen=True, slots=True)
class Seen:
    """A job and what belongs to it, at one moment."""

    job: TrainJob
    pods: Sequence[Object]
    events: Sequence[Object]
    now: datetime
    program: str = "paceline"


def describe(seen: Seen) -> RenderableType:
    """Return the description."""
    sections = [("", _summary(seen)), ("Conditions", _conditions(seen)), ("Workers", _workers(seen))]
    sections += [("Tracking", _tracking(seen))]
    sections += [("Restarts", _history(seen)), ("Events", _events(seen)), ("Result", _result(seen))]
    parts: list[RenderableType] = []
    for title, body in sections:
        if body is None:
            continue
        if title:
            parts += [Text(), Text(title, style="bold"), Padding(body, (0, 0, 0, INDENT), expand=False)]
        else:
            parts.append(body)
    return Group(*parts)


def _summary(seen: Seen) -> RenderableType:
    job, status, spec = seen.job, seen.job.status, seen.job.spec
    grid = _grid()
    grid.add_row("Name", Text(job.name, style="bold"))
    grid.add_row("Namespace", Text(job.namespace))
    grid.add_row("Phase", text.phase(job))
    grid.add_row("Age", _ages(job, seen.now))
    grid.add_row("Image", Text(spec.image))
    grid.add_row("Command", Text(" ".join([*spec.command, *spec.args])))
    grid.add_row("Workers", Text(_size(job)))
    grid.add_row("Storage", Text(run_directory(job) or "the operator's default, where it has one"))
    policy = spec.failure_policy
    preempted = f"; preemptions {status.preemptions} {_of(policy.max_preemptions)}" if status.preemptions else ""
    restarts = f"{status.restarts} {_of(policy.max_restarts)}{preempted}"
    grid.add_row("Restarts", f"{restarts}; attempt {status.attempt} (the first is 0)")
    if progress := status.progress:
        told = [f"step {progress.step}" if progress.step is not None else "", text.metrics(progress.metrics)]
        told += [f"{text.age(progress.time, seen.now)} ago" if progress.time and not status.finished else ""]
        told += [f"slowest rank {progress.slowest_rank}" if progress.slowest_rank is not None else ""]
        grid.add_row("Progress", Text(", ".join(filter(None, told))))
    for title, checkpoint in (("Checkpoint", status.checkpoint), ("Best", status.best_checkpoint)):
        if checkpoint:
            told = [text.checkpoint(checkpoint), text.metrics(checkpoint.metrics)]
            told += [f"{text.age(checkpoint.time, seen.now)} ago"] if checkpoint.time else []
            grid.add_row(title, Text(", ".join(filter(None, told)) + f"\n{checkpoint.path}"))
    return grid


def _of(limit: int) -> str:
    return "without bound" if limit < 0 else f"of at most {limit}"


def _ages(job: TrainJob, now: datetime) -> str:
    status = job.status
    told = text.age(job.metadata.creation_timestamp, now)
    if status.start_time:
        end = status.completion_time or now
        verb = "took" if status.completion_time else "started"
        told += f", {verb} {text.duration(end - status.start_time)}" + ("" if status.completion_time else " ago")
    return told


def _size(job: TrainJob) -> str:
    workers = job.spec.workers
    pods = "1 pod" if job.spec.pods == 1 else f"{job.spec.pods} pods of {workers.per_pod}"
    told = [f"{workers.count} in {pods}"]
    if workers.resources.gpu:
        told.append(f"{workers.resources.gpu} {workers.gpu_resource} each")
    told += [f"{value} {what} each" for what, value in _amounts(job)]
    return ", ".join([*told, workers.placement])


def _amounts(job: TrainJob) -> Iterator[tuple[str, str]]:
    resources = job.spec.workers.resources
    for what, value in (("CPU", resources.cpu), ("memory", resources.memory)):
        if value:
            yield what, value


def _conditions(seen: Seen) -> RenderableType | None:
    if not seen.job.status.conditions:
        waiting = "none yet: the operator has not looked at this job. Does it run, and does it watch this namespace?"
        return Text(waiting, style="dim")
    grid = _table("", "TYPE", "REASON", "SINCE", "MESSAGE")
    for condition in seen.job.status.conditions:
        message = Text(condition.message)
        if todo := _todo(condition, seen):
            message.append(f"\n-> {todo}" if condition.message else f"-> {todo}", style="yellow")
        since = text.age(condition.last_transition_time, seen.now)
        grid.add_row(_mark(condition), condition.type, condition.reason, since, message)
    return grid


def _mark(condition: Condition) -> Text:
    if condition.status != "True":
        return Text("-" if condition.status == "False" else "?", style="dim")
    return Text("x", style="red") if condition.type in BAD_CONDITIONS else Text("+", style="green")


def _todo(condition: Condition, seen: Seen) -> str:
    """Advice, unless the condition says that what it names is over."""
    over = condition.status == "False" and condition.type in (*BAD_CONDITIONS, "Suspended")
    return "" if over else advice(condition.reason, seen.job, seen.program)


def _workers(seen: Seen) -> RenderableType | None:
    if not seen.pods:
        return None
    per_pod = seen.job.spec.workers.per_pod
    grid = _table("ATTEMPT", "RANK", "POD", "NODE", "STATE")
    for pod in seen.pods:
        labels = pod["metadata"].get("labels", {})
        first = int(labels.get(names.LABEL_INDEX, 0)) * per_pod
        ranks = str(first) if per_pod == 1 else f"{first}-{first + per_pod - 1}"
        node = pod.get("spec", {}).get("nodeName", "")
        grid.add_row(labels.get(names.LABEL_ATTEMPT, ""), ranks, pod["metadata"]["name"], node, pod_state(pod))
    return grid


def _tracking(seen: Seen) -> RenderableType | None:
    job = seen.job
    serves = job.spec.tracking.tensorboard.serve
    if not (job.status.tracking or serves):
        return None
    grid = _table("TRACKER", "RUN", "WHERE")
    for run in job.status.tracking:
        where = Text(run.url, style=f"link {run.url}") if run.url else Text(run.path or "")
        grid.add_row(run.kind, run.run_id or "", where)
    if serves:
        service, port = names.tensorboard(job.name), names.TENSORBOARD_PORT
        forward = f"kubectl port-forward -n {job.namespace} service/{service} {port}"
        grid.add_row("tensorboard", "", Text(f"{forward}\nthen http://localhost:{port}"))
    return grid


def _history(seen: Seen) -> RenderableType | None:
    if not seen.job.status.history:
        return None
    grid = _table("ATTEMPT", "ENDED", "CAUSE", "WHERE", "THEN")
    for record in seen.job.status.history:
        ended = f"{text.age(record.time, seen.now)} ago"
        grid.add_row(str(record.attempt), ended, _cause(record), _where(record), _then(record))
    return grid


def _cause(record: FailureRecord) -> Text:
    cause = Text(record.cause, style="red")
    if record.exit_code is not None:
        cause.append(f"\nexit code {record.exit_code}", style="default")
    if record.counted_as is not None:
        counted = "not counted" if record.counted_as == "uncounted" else f"counted as {record.counted_as}"
        cause.append(f"\n{counted}", style="dim")
    if record.times is not None:
        cause.append(f"\n{record.times} attempts in a row", style="default")
    return cause


def _where(record: FailureRecord) -> Text:
    told = [f"rank {record.rank}" if record.rank is not None else "", record.pod or "", record.node or ""]
    return Text("\n".join(filter(None, told)))


def _then(record: FailureRecord) -> Text:
    resumed = "the start" if record.resumed_from is None else f"checkpoint {record.resumed_from}"
    told = [f"resumed from {resumed}"]
    told += [f"{record.lost_steps} steps lost"] if record.lost_steps is not None else []
    told += [f"down for {record.downtime_seconds:.1f} s"] if record.downtime_seconds is not None else []
    then = Text(", ".join(told))
    if record.message:
        then.append(f"\n{record.message.strip()}", style="dim")
    return then


def _events(seen: Seen) -> RenderableType | None:
    if not seen.events:
        return None
    grid = _table("AGE", "REASON", "ABOUT", "MESSAGE")
    for event in seen.events[-MAX_EVENTS:]:
        when = event_time(event)
        age = text.age(datetime.fromisoformat(when.replace("Z", "+00:00")), seen.now) if when else ""
        times = event.get("count") or (event.get("series") or {}).get("count") or 1
        involved = event.get("involvedObject", {})
        about = "job" if involved.get("kind") == names.KIND else str(involved.get("name", ""))
        style = "yellow" if event.get("type") == "Warning" else ""
        message = str(event.get("message", "")).strip() + (f" (x{times})" if times > 1 else "")
        grid.add_row(age, Text(str(event.get("reason", "")), style=style), about, Text(message))
    return grid


def _result(seen: Seen) -> RenderableType | None:
    result, checkpoint = seen.job.status.result, seen.job.status.checkpoint
    if result is None:
        return None
    grid = _grid()
    for name, value in result.metrics.items():
        grid.add_row(name, Text(text.number(value)))
    if result.path:
        grid.add_row("files", Text(f"{result.path}\nresult.json (a line for each report), progress.csv, params.json"))
    if checkpoint:
        read = f'paceline.train.Checkpoint("{checkpoint.path}").to_directory("model")'
        here = f"{seen.program} checkpoints {seen.job.name} --download model"
        grid.add_row("read it", Text(f"{here}\n{read}"))
    if result.error:
        grid.add_row("error", failure(result.error))
    return grid


def failure(error: WorkerError) -> Text:
    """Return who failed and why, with the end of the traceback."""
    who = "" if error.rank is None else f"rank {error.rank}: "
    code = "" if error.exit_code is None else f" (exit code {error.exit_code})"
    head = f"{who}{': '.join(filter(None, [error.type, error.message]))}{code}"
    told = Text(head, style="red")
    if error.traceback:
        told.append(f"\n{error.traceback.rstrip()}", style="default")
    return told


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("AGE", "SINCE", "ENDED", "RANK", "ATTEMPT"))
    return table
