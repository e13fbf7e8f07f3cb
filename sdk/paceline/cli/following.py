"""`logs`: the output of the workers, over restarts."""

from __future__ import annotations

import sys

from paceline.api import names
from paceline.cli.session import Session, interruptible, say
from paceline.client import follow as following
from paceline.client import logtail
from paceline.client.connection import Object
from paceline.client.errors import NotFoundError, UsageError


def show_logs(
    here: Session, name: str, *, rank: int | None, every: bool, follow: bool, attempt: int | None, tail: int | None
) -> None:
    """Write the logs to standard output.

    Raises:
        UsageError: There is no such rank or attempt.
        NotFoundError: There are no pods to read.
    """
    job = here.job(name)
    count = job.spec.workers.count
    if rank is not None and not 0 <= rank < count:
        raise UsageError(f"--rank is {rank}: {name} has the ranks 0 to {count - 1}")
    if attempt is not None and attempt > job.status.attempt:
        raise UsageError(f"--attempt is {attempt}: the newest attempt of {name} is {job.status.attempt}")
    want = logtail.wanted(rank=rank, every=every, attempt=attempt, per_pod=job.spec.workers.per_pod)
    writer = _Writer(prefix=every, rank=rank if job.spec.workers.per_pod > 1 else None)
    with interruptible(here, f"stopped following; {name} goes on"):
        if follow:
            _follow(here, name, want, writer, tail)
        else:
            _once(here, name, want, writer, tail)


def _once(here: Session, name: str, want: logtail.Wanted, writer: _Writer, tail: int | None) -> None:
    pods = here.cluster.pods(name)
    mine = logtail.chosen(pods, want)
    if not mine:
        raise NotFoundError(_no_pods(here, name, pods))
    for pod in logtail.readable(mine):
        for line in here.cluster.log_lines(pod, tail=tail):
            writer.write(pod, line)
    for sentence in logtail.silent(mine):
        say(here.err, sentence, "yellow")


def _no_pods(here: Session, name: str, pods: list[Object]) -> str:
    job = here.job(name)
    if pods:
        there = sorted({pod["metadata"]["labels"][names.LABEL_ATTEMPT] for pod in pods})
        return f"the pods asked for are gone; there are pods of attempt {', '.join(there)}"
    if job.status.finished:
        return f"{name} is {job.status.phase} and its pods are gone (spec.cleanPodPolicy: {job.spec.clean_pod_policy})"
    return f"{name} is {job.status.phase} and has no pods yet: {here.program} describe {name} says why"


def _follow(here: Session, name: str, want: logtail.Wanted, writer: _Writer, tail: int | None) -> None:
    """Write what the pods write; over a restart, what those of the next attempt write."""
    told: set[str] = set()
    read = 0
    phase = ""
    for seen in following.follow(here.cluster, name, want, tail=tail):
        match seen:
            case following.Line():
                writer.write(seen.pod, seen.text)
            case following.Opened():
                if read:
                    say(here.err, f"--- {seen.pod}", "dim")
                read += 1
            case following.Looked():
                phase = seen.job.status.phase
            case following.Trouble():
                if seen.message not in told:
                    say(here.err, seen.message, "red" if seen.fatal else "yellow")
                    told.add(seen.message)
    if not read:
        raise NotFoundError(_no_pods(here, name, []))
    say(here.err, f"--- {name} {phase}", "dim")


class _Writer:
    """Writes lines as they came, with the pod's name in front where several are read."""

    def __init__(self, *, prefix: bool, rank: int | None) -> None:
        self._prefix = prefix
        self._rank = rank

    def write(self, pod: str, line: bytes) -> None:
        """Write a line, unless another rank of the same pod wrote it."""
        if self._rank is not None and not logtail.of_rank(line, self._rank):
            return
        head = f"[{pod}] ".encode() if self._prefix else b""
        sys.stdout.buffer.write(head + line + b"\n")
        sys.stdout.buffer.flush()
