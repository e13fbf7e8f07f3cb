"""`logs`: the output of the workers, over restarts."""

from __future__ import annotations

import queue
import re
import sys
import threading
import time
from contextlib import suppress

from paceline.api import names
from paceline.cli import logtail
from paceline.cli.connection import Object
from paceline.cli.errors import CliError, ClusterError, NotFoundError, UsageError
from paceline.cli.session import Session, interruptible, parse, say

LOOK_S = 1.0
# A stream that is silent for so long is opened anew: a dead connection would be silent for ever.
SILENCE_S = 300.0


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
    """Read every pod by a thread of its own; look for the pods of the next attempt until the job is over."""
    lines: queue.Queue[tuple[str, bytes]] = queue.Queue(maxsize=10_000)
    readers: dict[str, threading.Thread] = {}
    told: set[str] = set()
    while True:
        # The job before its pods: when it is over, no pod appears after this look.
        job = parse(here.cluster.job(name))
        over = job.status.finished or (want.attempt is not None and job.status.attempt > want.attempt)
        mine = logtail.chosen(here.cluster.pods(name), want)
        for pod in logtail.readable(mine, readers):
            if readers:
                say(here.err, f"--- {pod}", "dim")
            readers[pod] = threading.Thread(target=_read, args=(here, name, pod, lines, tail), daemon=True)
            readers[pod].start()
        for sentence in logtail.silent(mine):
            if sentence not in told:
                say(here.err, sentence, "yellow")
                told.add(sentence)
        alive = any(reader.is_alive() for reader in readers.values())
        _drain(lines, writer, 0.0 if over and not alive else LOOK_S)
        if over and not alive and lines.empty():
            if not readers:
                raise NotFoundError(_no_pods(here, name, []))
            say(here.err, f"--- {name} {job.status.phase}", "dim")
            return


def _drain(lines: queue.Queue[tuple[str, bytes]], writer: _Writer, seconds: float) -> None:
    end = time.monotonic() + seconds
    with suppress(queue.Empty):
        while (left := end - time.monotonic()) > 0:
            writer.write(*lines.get(timeout=left))
        while True:
            writer.write(*lines.get_nowait())


def _read(here: Session, name: str, pod: str, lines: queue.Queue[tuple[str, bytes]], tail: int | None) -> None:
    """Follow one pod to the end of its worker; a broken stream goes on after the last line that it gave."""
    last = ""
    while True:
        try:
            stream = here.cluster.log_lines(
                pod, follow=True, stamped=True, tail=None if last else tail, since=last, silence_s=SILENCE_S
            )
            for line in stream:
                stamp, text = logtail.unstamp(line)
                if stamp and last and stamp <= last:
                    continue  # the second that the stream broke in is sent again from its beginning
                last = stamp or last
                lines.put((pod, text))
            there = {found["metadata"]["name"]: found for found in here.cluster.pods(name)}
            if not logtail.running(there.get(pod)):
                return
        except ClusterError as error:
            if not error.retryable:
                say(here.err, str(error), "red")
                return
        except CliError:
            return  # the pod is gone
        time.sleep(LOOK_S)


class _Writer:
    """Writes lines as they came, with the pod's name in front where several are read."""

    _RANK = re.compile(rb"^\[rank (\d+)\] ")

    def __init__(self, *, prefix: bool, rank: int | None) -> None:
        self._prefix = prefix
        self._rank = rank

    def write(self, pod: str, line: bytes) -> None:
        """Write a line, unless another rank of the same pod wrote it."""
        if self._rank is not None and (of := self._RANK.match(line)) and int(of[1]) != self._rank:
            return
        head = f"[{pod}] ".encode() if self._prefix else b""
        sys.stdout.buffer.write(head + line + b"\n")
        sys.stdout.buffer.flush()
