"""A job as it goes on: what its workers write, over restarts, and how it stands."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from paceline.api import TrainJob
from paceline.client import logtail, podlog
from paceline.client.cluster import Cluster
from paceline.client.connection import Object
from paceline.client.errors import ClusterError
from paceline.client.jobs import UNREACHABLE_S, parse

LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a worker wrote."""

    pod: str
    text: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """From here on a pod is read."""

    pod: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why nothing is read: a pod that has not started, or a log that may not be read."""

    message: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """The job as it was a moment ago."""

    job: TrainJob


Seen: TypeAlias = Line | Opened | Trouble | Looked


def follow(cluster: Cluster, name: str, want: logtail.Wanted, *, tail: int | None = None) -> Iterator[Seen]:
    """Yield what is seen until the job (or the wanted attempt) is over and its pods have been read to their ends.

    Every pod is read by a thread of its own. An API server that cannot be reached is tried again for a minute.

    Raises:
        NotFoundError: The job is not there any more.
        ClusterError: The cluster cannot be reached, or does not allow it.
    """
    lines: queue.Queue[Line | Trouble] = queue.Queue(maxsize=10_000)
    readers: dict[str, threading.Thread] = {}
    lost_at: float | None = None
    while True:
        try:
            # The job before its pods: when it is over, no pod appears after this look.
            job = parse(cluster.job(name))
            pods: list[Object] = logtail.chosen(cluster.pods(name), want)
            lost_at = None
        except ClusterError as error:
            lost_at = lost_at or time.monotonic()
            if not error.retryable or time.monotonic() - lost_at > UNREACHABLE_S:
                raise
            yield from _drain(lines, LOOK_S)
            continue
        yield Looked(job)
        over = job.status.finished or (want.attempt is not None and job.status.attempt > want.attempt)
        for pod in logtail.readable(pods, readers):
            yield Opened(pod)
            readers[pod] = threading.Thread(target=_read, args=(cluster, name, pod, lines, tail), daemon=True)
            readers[pod].start()
        yield from (Trouble(sentence) for sentence in logtail.silent(pods))
        alive = any(reader.is_alive() for reader in readers.values())
        yield from _drain(lines, 0.0 if over and not alive else LOOK_S)
        if over and not alive and lines.empty():
            return


def _drain(lines: queue.Queue[Line | Trouble], seconds: float) -> Iterator[Line | Trouble]:
    end = time.monotonic() + seconds
    with suppress(queue.Empty):
        while (left := end - time.monotonic()) > 0:
            yield lines.get(timeout=left)
        while True:
            yield lines.get_nowait()


def _read(cluster: Cluster, name: str, pod: str, lines: queue.Queue[Line | Trouble], tail: int | None) -> None:
    try:
        for line in podlog.lines(cluster, name, pod, tail=tail):
            lines.put(Line(pod, line))
    except ClusterError as error:
        lines.put(Trouble(str(error), fatal=True))
