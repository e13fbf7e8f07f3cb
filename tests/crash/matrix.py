"""Every crash case, enumerated from recordings of what the protocol does, by group.

A point is a step of the protocol: an operation of the store (before, after, and each system call inside it), a request
to an S3 server (before, in its middle, when the answer is lost), a message between pods, a step of the hand-over from a
training process. It counts when three recordings show it.

An attempt stores four checkpoints by the same steps. The second is hit at each of them, the third too, since retention
deletes an older one there; of the first and the last, each operation is. `CRASH_FULL=1` hits everything everywhere.
`CRASH_SAMPLE=TEXT` leaves two thirds out: every operation of every process with every victim stays. At
which of its steps it is hit, TEXT chooses, and a twelfth of the other cases: a run with another text hits others.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.crash.pool import Pool
from tests.support.crash_case import Case
from tests.support.crash_points import Form, Shot
from tests.support.crash_watch import WRITES
from tests.support.sampling import chosen

_FULL = bool(os.environ.get("CRASH_FULL"))
SAMPLE = os.environ.get("CRASH_SAMPLE", "")
_ALSO_ONE_OF = 12  # of the cases of a sample that repeat another
_RECORDINGS = 3
_REPEATED = re.compile(r"checkpoint_00000[03]")  # by the same steps as 1 and 2
# A case on S3 costs four of those in a directory: there it is the requests that matter, and of reads only the first.
_REPEATED_ON_S3 = re.compile(r"checkpoint_00000[023]|^GET\(.*#[3-9]|^POST.*#")
_REPEATED_REPORTS = re.compile(r"report4|(take|reply)\(.*#[34]")
_DETAILED_REPORTS = re.compile(r"report1\.")
# As the store is after an operation, it is before the next one.
_NEXT_BEFORE = re.compile(r"^(put_file|write|create_if_absent|delete\w*|check)\(.*\.after")
# They leave the store as the step before did: directories that are there, a file that was renamed already. And the
# run's own files are stored at every commit in the same way: each step of it once.
_IDLE_STEPS = re.compile(
    r"^(put_file|create_if_absent|write)\(.*\)\.mkdir\(|^put_file\(.*\)\.remove\(partial\)"
    r"|^\w+\((result|progress|params|events)[^/]*\).*#|^size\("
)
# Of a run with names: the second checkpoint's files, and claims, decisions and deletions of any number.
_NAMED = re.compile(
    r"^(put_file|create_if_absent|delete|delete_directory|files)\((step=000001|\.paceline/(claims|decisions))"
)
_WRITING = re.compile(rf"^({'|'.join(WRITES)})\(")
_REQUESTS = re.compile(r"^(GET|HEAD|PUT|POST|DELETE)\(")
_STEP = re.compile(r"\)\.(before|after|half|lost|\w+\([^()/]*\))(#\d+)?$")  # after an operation: a step inside it
# Where the first of two crashes happens, and what it leaves for the second attempt to mend.
FIRST_CRASHES = {
    "while a file is stored": r"put_file\(checkpoint_000001/shard-0\)\.half",
    "before the decision": r"create_if_absent\(.paceline/decisions/checkpoint_000001.json\)\.link\(.*",
    "decided, not committed": r"create_if_absent\(checkpoint_000001/.paceline.json\)\.before",
    "retention, decision gone": r"delete\(checkpoint_000001/.paceline.json\)\.before",
    "retention, in its files": r"delete_directory\(checkpoint_000001\)\.remove\(shard-0\)",
    "retention, claim left": r"delete\(.paceline/claims/checkpoint_000001.json\)\.before",
}


@dataclass(frozen=True, slots=True)
class Point:
    """A step of one process."""

    who: str
    name: str
    alive: frozenset[str]  # processes that can be hit there


def groups(pool: Pool) -> dict[str, list[Case]]:
    """All cases: the name of a group -> its cases."""
    with ThreadPoolExecutor() as threads:
        whole = (Case("local", ()), Case("s3", ()), Case("local", (), form="pair"), Case("local", (), form="named"))
        local, s3, pair, named = threads.map(lambda case: points(pool, case), whole)
    every = {
        "lead": list(_cases("local", _at_the_lead(local))),
        "other agent": list(_cases("local", _at_the_other_agent(local))),
        "workers": list(_cases("local", _at_the_workers(local))),
        "messages": list(_cases("local", _messages(local))),
        "late comers": list(_cases("local", _late_comers(local))),
        "second crash": list(_second_crashes(pool, local)),
        "storage server": list(_cases("s3", _at_requests(s3))),
        "two in a pod": list(_cases("local", _at_one_pod(pair), form="pair")),
        "named and waited for": list(_cases("local", _at_names(named), form="named")),
    }
    return {group: sample(cases, SAMPLE) if SAMPLE else cases for group, cases in every.items()}


def sample(cases: Sequence[Case], text: str) -> list[Case]:
    """Every operation with every victim once, whatever its numbers, and a part of the others: `text` decides which."""
    kept: set[Case] = set()
    seen: set[str] = set()
    # Of the cases of an operation any may come first.
    for case in sorted(cases, key=lambda case: zlib.crc32(f"{case.id} {text}".encode())):
        operation = _operation(case)
        if operation not in seen or chosen(text, case.id, _ALSO_ONE_OF):
            kept.add(case)
        seen.add(operation)
    return [case for case in cases if case in kept]


def _operation(case: Case) -> str:
    """What is hit and who: not at which repetition, and not at which step inside the operation."""
    return re.sub(r"\d+|#\d+$", "", _STEP.sub(")", case.id))


def points(pool: Pool, case: Case, attempt: int = 0) -> list[Point]:
    """The points of an attempt, in their order, that all recordings share."""
    with ThreadPoolExecutor() as threads:
        recordings = list(threads.map(lambda _: pool.record(case, attempt), range(_RECORDINGS)))
    return [point for who in sorted(recordings[0]) for point in _common(who, [r.get(who, []) for r in recordings])]


def _common(who: str, recordings: list[list[dict[str, Any]]]) -> Iterator[Point]:
    alive = [{line["point"]: frozenset(line["alive"]) for line in recording} for recording in recordings]
    for line in recordings[0]:
        name = line["point"]
        if all(name in found for found in alive) and not (_IDLE_STEPS.match(name) or _is_next(name)):
            yield Point(who, name, frozenset.intersection(*(found[name] for found in alive)))


def _is_next(name: str) -> bool:
    return not _FULL and bool(_NEXT_BEFORE.match(name))


def _cases(store: str, shots: Iterable[Shot], form: Form = "") -> Iterator[Case]:
    yield from (Case(store, (shot,), form=form) for shot in dict.fromkeys(shots))


def _at_the_lead(found: list[Point]) -> Iterator[Shot]:
    for point in _of(found, "lead"):
        yield from _at_an_agent(point, ("agent1", "rank0", "rank1"))


def _at_the_other_agent(found: list[Point]) -> Iterator[Shot]:
    for point in _of(found, "agent1"):
        if not _is_beat(point):
            yield from _at_an_agent(point, ("lead", "rank0", "rank1"))


def _at_an_agent(point: Point, others: tuple[str, ...]) -> Iterator[Shot]:
    repeated = bool(_REPEATED.search(point.name) or _REPEATED_REPORTS.match(point.name)) and not _FULL
    if ".before" in point.name or not repeated:
        yield Shot(point.who, point.name, point.who)
    # What the others have done by then depends on the operation alone, not on the system calls inside it.
    if ".before" in point.name and not repeated:
        yield from (Shot(point.who, point.name, victim) for victim in others if victim in point.alive)


def _at_the_workers(found: list[Point]) -> Iterator[Shot]:
    for rank in ("rank0", "rank1"):
        for point in _of(found, rank):
            if _FULL or not _REPEATED_REPORTS.match(point.name):
                yield Shot(rank, point.name, rank)
            if _FULL or _DETAILED_REPORTS.match(point.name):
                yield from (Shot(rank, point.name, v) for v in ("lead", "agent1") if v in point.alive)


def _messages(found: list[Point]) -> Iterator[Shot]:
    for point in filter(_is_beat, _of(found, "agent1")):
        yield Shot("agent1", point.name, "agent1", "drop")
        yield from (Shot("agent1", point.name, v) for v in ("agent1", "lead", "rank1") if v in point.alive)


def _late_comers(found: list[Point]) -> Iterator[Shot]:
    """An agent that freezes, is replaced, and goes on when the next attempt has finished."""
    for who in ("lead", "agent1"):
        for point in _of(found, who):
            # Before the operation, and right before the system call that makes its result visible.
            visible = _WRITING.match(point.name) and not re.search(r"\.(open|half|after)", point.name)
            if visible and (_FULL or not _REPEATED.search(point.name)):
                yield Shot(who, point.name, who, "stop")


def _second_crashes(pool: Pool, found: list[Point]) -> Iterator[Case]:
    """The lead of the next attempt dies too, at each step of its recovery."""
    names = [point.name for point in _of(found, "lead")]
    shots = []
    for pattern in FIRST_CRASHES.values():
        first = next((name for name in names if re.fullmatch(pattern, name)), None)
        assert first is not None, f"the protocol has no step {pattern} any more: adapt FIRST_CRASHES"
        shots.append(Shot("lead", first, "lead"))
    with ThreadPoolExecutor() as threads:
        recoveries = list(threads.map(lambda shot: points(pool, Case("local", (shot,)), attempt=1), shots))
    for shot, recovery in zip(shots, recoveries, strict=True):
        for point in _of(recovery, "lead"):
            if point.name.startswith("take("):
                break  # the training has begun: from here on it is an attempt like the first
            if _WRITING.match(point.name) and (_FULL or ".open(" not in point.name):
                yield Case("local", (shot, Shot("lead", point.name, "lead", attempt=1)))


def _at_requests(found: list[Point]) -> Iterator[Shot]:
    for point in found:
        reads = point.name.startswith(("GET", "HEAD"))
        if not _FULL and (_REPEATED_ON_S3.search(point.name) or (reads and ".lost" in point.name)):
            continue
        if _REQUESTS.match(point.name):
            yield Shot(point.who, point.name, "server")
            if not reads and "checkpoint_" in point.name:
                yield Shot(point.who, point.name, point.who)
        elif point.who == "rank0" and point.name.startswith("report1"):
            yield Shot(point.who, point.name, "server")


def _at_one_pod(found: list[Point]) -> Iterator[Shot]:
    """The lead with both processes: the steps of the second checkpoint, and of the third, which deletes another one."""
    for point in _of(found, "lead"):
        if ".before" in point.name and not _REPEATED.search(point.name):
            yield from (Shot("lead", point.name, victim) for victim in ("lead", "rank1") if victim in point.alive)
    for rank in ("rank0", "rank1"):
        for point in _of(found, rank):
            if _DETAILED_REPORTS.match(point.name):
                yield from (Shot(rank, point.name, victim) for victim in (rank, "lead") if victim in point.alive)


def _at_names(found: list[Point]) -> Iterator[Shot]:
    """What changes with a name of its own: claim, decision and commit; and who waits while the others go on."""
    for point in found:
        if point.who in ("lead", "agent1") and _NAMED.search(point.name) and ".before" in point.name:
            yield Shot(point.who, point.name, point.who)
            if point.who == "lead":
                yield from (Shot("lead", point.name, v) for v in ("agent1", "rank1") if v in point.alive)
        elif point.name.startswith("report1."):
            yield from (Shot(point.who, point.name, v) for v in (point.who, "lead") if v in point.alive)


def _of(found: list[Point], who: str) -> Iterator[Point]:
    return (point for point in found if point.who == who)


def _is_beat(point: Point) -> bool:
    return point.name.startswith("beat(")
