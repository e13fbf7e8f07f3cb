"""The fence: which attempt may write to a run directory.

`.paceline/attempt/` is a log that only grows: every attempt that begins adds the next number by a create-if-absent, so
that two that begin at once are told apart. The writer of the last entry owns the run; everyone else is fenced.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from paceline import _contract as c
from paceline.agent.errors import FencedError
from paceline.storage import Storage

_TRIES = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt in the log."""

    sequence: int
    run_id: str
    attempt: int
    token: str  # unique for each agent: tells two agents of one attempt apart


def begin(storage: Storage, run: str, *, run_id: str, attempt: int, token: str, time: str) -> Entry:
    """Add this attempt to the log and so fence every earlier writer.

    Raises:
        FencedError: A newer attempt of this run has begun already.
        StorageError: The store failed.
    """
    for _ in range(_TRIES):
        begun = read(storage, run)
        newer = max((e.attempt for e in begun if e.run_id == run_id), default=-1)
        if newer > attempt:
            raise FencedError(f"attempt {newer} of this run has begun already: attempt {attempt} ends without writing")
        entry = Entry(begun[-1].sequence + 1 if begun else 0, run_id, attempt, token)
        told = {"runId": run_id, "attempt": attempt, "token": token, "time": time}
        if storage.create_if_absent(f"{run}/{name(entry.sequence)}", json.dumps(told).encode()):
            return entry
    raise FencedError(f"{_TRIES} other attempts began at the same time in {storage.uri(run)}")


def check(storage: Storage, run: str, own: Entry) -> None:
    """Ensure that `own` is still the last entry.

    Raises:
        FencedError: It is not; the message names who is.
    """
    last = _sequences(storage, run)[-1:]
    if last == [own.sequence]:
        return
    if not last:
        raise FencedError(f"the state of the run in {storage.uri(run)}/{c.STATE_DIR} was deleted from outside")
    newer = _load(storage, run, last[0])
    who = f"attempt {newer.attempt}" if newer.run_id == own.run_id else f"another run ({newer.run_id})"
    raise FencedError(f"{who} writes to {storage.uri(run)} now: this attempt stores nothing more")


def read(storage: Storage, run: str) -> list[Entry]:
    """All entries, the oldest first."""
    return [_load(storage, run, sequence) for sequence in _sequences(storage, run)]


def name(sequence: int) -> str:
    """Where an entry lies below the run directory. Other pods read the lead's: that proves that they share a store."""
    return f"{c.STATE_DIR}/attempt/{sequence:06d}.json"


def _sequences(storage: Storage, run: str) -> list[int]:
    found = (e.name.removesuffix(".json") for e in storage.files(f"{run}/{c.STATE_DIR}/attempt"))
    return sorted(int(number) for number in found if number.isdigit())


def _load(storage: Storage, run: str, sequence: int) -> Entry:
    told = json.loads(storage.read(f"{run}/{name(sequence)}"))
    return Entry(sequence, str(told["runId"]), int(told["attempt"]), str(told["token"]))
