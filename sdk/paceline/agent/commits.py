"""The checkpoints of a run directory: claim a number, commit, find, delete. Every call blocks on the store.

A checkpoint directory is `checkpoint_000012/`; it exists for readers once `.paceline.json` lies in it. Three small
objects keep that true when attempts overlap or an agent dies between any two steps:

1. `.paceline/claims/<directory>.json`: the number belongs to one attempt, so two never mix their files.
2. `.paceline/decisions/<directory>.json`: committed (it holds the whole commit) or abandoned, decided once. A new
   attempt abandons what older ones left undecided *before* it deletes their files, so no late commit can follow.
3. `<directory>/.paceline.json`: written last. If only this step is lacking, the next attempt does it.

A checkpoint may have a directory of another name; it has a number all the same, and its claim tells the name.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from paceline import _contract as c
from paceline.agent import attempts, names
from paceline.agent.errors import FencedError
from paceline.storage import Storage, StorageError, StorageNotFoundError

_DIRECTORY = re.compile(rf"^{c.CHECKPOINT_PREFIX}(\d{{6,}})$")
_READERS = 16


@dataclass(frozen=True, slots=True)
class Commit:
    """The content of `.paceline.json`."""

    index: int
    attempt: int
    step: int | None
    time: str  # of the commit
    metrics: Mapping[str, Any]
    world_size: int
    files: Mapping[str, Mapping[str, Any]]  # name -> size (bytes) and a checksum
    ranks: tuple[int, ...]  # that gave files
    run_id: str = ""
    iteration: int = 0  # number of reports of the run so far
    name: str = ""  # of its directory, where that is not the number's
    external: Mapping[int, str] = field(default_factory=dict)  # rank -> URI that the user's own function stored to
    path: str = field(default="", compare=False)  # URI of the directory; not in the file

    @property
    def directory(self) -> str:
        """Name below the run directory."""
        return self.name or directory_name(self.index)

    @property
    def location(self) -> str:
        """URI where the files are: the directory, or where the user's function put those of the lowest rank."""
        return self.external[min(self.external)] if self.external and not self.files else self.path

    @property
    def lasting_files(self) -> dict[str, Mapping[str, Any]]:
        """What the files must still be: all but the metadata, which may be changed after the commit."""
        return {name: about for name, about in self.files.items() if name != c.METADATA_FILE}

    def to_json(self) -> dict[str, Any]:
        """The keys of design.md section 5, run_id and iteration; `directory` and `external` where there are such."""
        told: dict[str, Any] = {
            "index": self.index,
            "attempt": self.attempt,
            "step": self.step,
            "time": self.time,
            "metrics": dict(self.metrics),
            "world_size": self.world_size,
            "files": {name: dict(about) for name, about in self.files.items()},
            "ranks": list(self.ranks),
            "run_id": self.run_id,
            "iteration": self.iteration,
        }
        if self.name:
            told["directory"] = self.name
        if self.external:
            told["external"] = {str(rank): uri for rank, uri in self.external.items()}
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any], path: str) -> Commit:
        """Read a commit file; keys added by later versions are passed over.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        if not isinstance(told, Mapping):
            raise TypeError(f"{told!r} is not an object")
        for name in ("metrics", "files", "external"):
            if not isinstance(told.get(name) or {}, Mapping):
                raise TypeError(f"{name} is {told[name]!r}, not an object")
        return cls(
            index=int(told["index"]),
            attempt=int(told.get("attempt") or 0),
            step=told.get("step"),
            time=str(told.get("time") or ""),
            metrics=told.get("metrics") or {},
            world_size=int(told.get("world_size") or 1),
            files=told.get("files") or {},
            ranks=tuple(told.get("ranks") or ()),
            run_id=str(told.get("run_id") or ""),
            iteration=int(told.get("iteration") or 0),
            name=str(told.get("directory") or ""),
            external={int(rank): str(uri) for rank, uri in (told.get("external") or {}).items()},
            path=path,
        )

    def summary(self) -> dict[str, Any]:
        """As `/status` and the termination message tell it."""
        told: dict[str, Any] = {
            "path": self.location,
            "index": self.index,
            "step": self.step,
            "time": self.time,
            "metrics": dict(self.metrics),
            "attempt": self.attempt,
        }
        if self.external:
            told["external"] = {str(rank): uri for rank, uri in self.external.items()}
        return told


def directory_name(index: int) -> str:
    """`checkpoint_000012`."""
    return f"{c.CHECKPOINT_PREFIX}{index:06d}"


class DamagedCommitError(StorageError):
    """A file has the name of a commit and is none."""


def read_commit(storage: Storage, directory: str) -> Commit | None:
    """The commit of a checkpoint directory, or None: without it the directory does not exist.

    Raises:
        DamagedCommitError: The file is there, and is no commit.
        StorageError: The store failed.
    """
    try:
        told = json.loads(storage.read(f"{directory}/{c.COMMIT_FILE}"))
        return Commit.from_json(told, storage.uri(directory))
    except StorageNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as e:
        raise DamagedCommitError(f"{storage.uri(f'{directory}/{c.COMMIT_FILE}')} is not a commit: {e}") from e


def read_commits(storage: Storage, run: str, damaged: dict[str, str] | None = None) -> list[Commit]:
    """Every committed checkpoint of a run directory, by number, whatever its directory is called.

    A copy of a checkpoint directory under another name does not count: its commit names the original.

    Args:
        damaged: Takes directory and reason of each commit that cannot be understood, so that it hides no other one.
    Raises:
        DamagedCommitError: There is one, and nowhere to say so.
        StorageError: The store failed.
    """

    def read(name: str) -> Commit | None:
        try:
            return read_commit(storage, f"{run}/{name}")
        except DamagedCommitError as e:
            if damaged is None:
                raise
            damaged[name] = str(e)
            return None

    directories = [name for name in storage.directories(run) if name not in (c.STATE_DIR, c.ARTIFACTS_DIR)]
    with ThreadPoolExecutor(_READERS) as pool:
        commits = list(pool.map(read, directories))
    found = [commit for name, commit in zip(directories, commits, strict=True) if commit and commit.directory == name]
    return sorted(found, key=lambda commit: commit.index)


class NameTakenError(Exception):
    """The directory that a checkpoint shall have exists already."""


class Checkpoints:
    """Checkpoints below one run directory, for the attempt that owns it."""

    def __init__(self, storage: Storage, run: str, owner: attempts.Entry) -> None:
        self._storage = storage
        self._run = run
        self._owner = owner
        self._tried = -1  # the number of a claim that may have been stored, though the call failed

    def recover(self) -> list[Commit]:
        """Settle what earlier attempts left: finish their decided commits, abandon the rest. Returns all, in order."""
        found = read_commits(self._storage, self._run)
        decisions = {entry.name for entry in self._storage.files(f"{self._run}/{c.STATE_DIR}/decisions")}
        # Retention deletes the decision first, the files last: what lacks both was deleted, and only its commit has
        # come back, from an agent that was frozen for an attempt and then killed.
        ghosts = [
            commit
            for commit in found
            if f"{directory_name(commit.index)}.json" not in decisions and not self._is_whole(commit)
        ]
        for ghost in ghosts:
            self._storage.delete_directory(f"{self._run}/{ghost.directory}")
        found = [commit for commit in found if commit not in ghosts]
        committed = {commit.index for commit in found}
        settled = (self._settle(index) for index in self._indexes() if index not in committed)
        return sorted([*found, *(commit for commit in settled if commit)], key=lambda commit: commit.index)

    def sweep(self, committed: Iterable[int]) -> list[int]:
        """Delete directories that can no longer be committed. Call it after `recover`, with its indexes."""
        known = set(committed)
        gone = [i for i in self._indexes() if i not in known and self._is_abandoned(i)]
        for index in gone:
            # A directory that nobody claimed came from elsewhere. Without a claim its number would be given again, and
            # that checkpoint could not be committed: the decision against it stands.
            self._storage.create_if_absent(self._state("claims", index), self._abandoned())
            self._clear(index, self._claimed_name(index))
        return gone

    def claim(self, least: int, name: str = "") -> int:
        """Take the first free number from `least` on for this attempt. It may be repeated after a failure.

        Args:
            name: The directory, where it is not to be the number's.
        Raises:
            NameTakenError: There is something in the directory of that name.
        """
        if name and next(iter(self._storage.files(f"{self._run}/{name}")), None) is not None:
            raise NameTakenError(
                f"{self._storage.uri(f'{self._run}/{name}')} is there already: give every checkpoint a name of its own"
            )
        told = {"runId": self._owner.run_id, "attempt": self._owner.attempt, "token": self._owner.token}
        if name:
            told["directory"] = name
        data = json.dumps(told).encode()
        # A server that dies between storing the claim and its reply must not leave a gap in the numbers.
        first = max([least, *(i + 1 for i in self._indexes() if i != self._tried)])
        for index in itertools.count(first):
            self._tried = index
            if self._storage.create_if_absent(self._state("claims", index), data):
                break
        attempts.check(self._storage, self._run, self._owner)
        self._tried = -1
        return index

    def commit(self, commit: Commit) -> Commit:
        """Make a checkpoint exist, after its files were compared with what the store lists.

        Raises:
            FencedError: A newer attempt has begun, and this one comes too late.
            StorageError: The store failed, or a file is missing or has another size.
        """
        directory = f"{self._run}/{commit.directory}"
        there = {entry.name: entry.size for entry in self._storage.files(directory)}
        for name, about in commit.files.items():
            if there.get(name) != about["size"]:
                raise StorageError(
                    f"{self._storage.uri(f'{directory}/{name}')} has {there.get(name, 'no')} bytes in the store, not"
                    f" {about['size']}: the checkpoint is not committed",
                    retryable=True,
                )
        attempts.check(self._storage, self._run, self._owner)
        data = json.dumps(commit.to_json()).encode()
        if not self._storage.create_if_absent(self._state("decisions", commit.index), data):
            raise FencedError(f"a newer attempt has abandoned {self._storage.uri(directory)}")
        self._publish(commit.index, directory, data)
        return Commit.from_json(commit.to_json(), self._storage.uri(directory))

    def abandon(self, index: int, name: str = "") -> None:
        """Give a claimed number up and delete what was stored under it."""
        self._storage.create_if_absent(self._state("decisions", index), self._abandoned())
        self._clear(index, name)

    def delete(self, index: int, name: str = "") -> None:
        """Retention: the checkpoint stops to exist first, then its files go."""
        directory = f"{self._run}/{name or directory_name(index)}"
        # The decision first: with it, the next attempt would write the commit again.
        self._storage.delete(self._state("decisions", index))
        self._storage.delete(f"{directory}/{c.COMMIT_FILE}")
        self._storage.delete_directory(directory)
        self._storage.delete(self._state("claims", index))

    def _indexes(self) -> list[int]:
        found = self._storage.directories(self._run)
        found += [e.name.removesuffix(".json") for e in self._storage.files(f"{self._run}/{c.STATE_DIR}/claims")]
        return sorted({int(match[1]) for match in map(_DIRECTORY.match, found) if match})

    def _settle(self, index: int) -> Commit | None:
        if self._storage.create_if_absent(self._state("decisions", index), self._abandoned()):
            return None
        told = json.loads(self._storage.read(self._state("decisions", index)))
        if "abandoned" in told:
            return None
        commit = Commit.from_json(told, "")
        directory = f"{self._run}/{commit.directory}"
        self._publish(index, directory, json.dumps(told).encode())
        return Commit.from_json(told, self._storage.uri(directory))

    def _publish(self, index: int, directory: str, data: bytes) -> None:
        """Write the commit file of a decided checkpoint.

        Raises:
            FencedError: A newer attempt has published it meanwhile, and retention has deleted it since.
        """
        self._storage.create_if_absent(f"{directory}/{c.COMMIT_FILE}", data)
        # Who freezes before that line for long may find it done, and undone again: its files are gone.
        if self._storage.size(self._state("decisions", index)) is None:
            self._storage.delete(f"{directory}/{c.COMMIT_FILE}")
            raise FencedError(f"a newer attempt has committed and deleted {self._storage.uri(directory)}")

    def _is_whole(self, commit: Commit) -> bool:
        there = {entry.name: entry.size for entry in self._storage.files(f"{self._run}/{commit.directory}")}
        return all(there.get(name) == about["size"] for name, about in commit.lasting_files.items())

    def _is_abandoned(self, index: int) -> bool:
        try:
            return "abandoned" in json.loads(self._storage.read(self._state("decisions", index)))
        except StorageNotFoundError:
            return False

    def _clear(self, index: int, name: str) -> None:
        directory = f"{self._run}/{name or directory_name(index)}"
        # A name, unlike a number, may have been taken again by a later checkpoint, which is committed now.
        if not name or self._storage.size(f"{directory}/{c.COMMIT_FILE}") is None:
            self._storage.delete_directory(directory)

    def _claimed_name(self, index: int) -> str:
        try:
            told = json.loads(self._storage.read(self._state("claims", index)))
        except StorageNotFoundError:
            return ""
        name = str(told.get("directory") or "")
        return "" if names.directory_problem(name) else name

    def _abandoned(self) -> bytes:
        return json.dumps({"abandoned": True, "attempt": self._owner.attempt, "by": self._owner.token}).encode()

    def _state(self, kind: str, index: int) -> str:
        return f"{self._run}/{c.STATE_DIR}/{kind}/{directory_name(index)}.json"
