"""Commits on a directory, with the writer dying between any two steps and an older attempt that comes too late."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.agent import attempts
from paceline.agent.commits import Checkpoints, Commit, DamagedCommitError, read_commits
from paceline.agent.errors import FencedError
from paceline.storage import Storage, StorageError, resolve


class CrashError(Exception):
    pass


class Dying:
    """A store that dies with its n-th write."""

    def __init__(self, storage: Storage, writes: int) -> None:
        self._storage = storage
        self._left = writes

    def __getattr__(self, name: str) -> object:
        found = getattr(self._storage, name)
        if name in ("write", "create_if_absent", "put_file", "delete", "delete_directory"):
            self._left -= 1
            if self._left < 0:
                raise CrashError(name)
        return found


def begin(storage: Storage, run: str, attempt: int, run_id: str = "r") -> Checkpoints:
    token = f"{run_id}-{attempt}"
    entry = attempts.begin(storage, run, run_id=run_id, attempt=attempt, token=token, time="t")
    return Checkpoints(storage, run, entry)


def commit_of(index: int, size: int = 3) -> Commit:
    return Commit(index, 0, 5, "t", {"loss": 1}, 1, {"m": {"size": size, "crc32": "0"}}, (0,), "r", 5)


@pytest.fixture
def place(tmp_path: Path) -> tuple[Storage, str]:
    return resolve(str(tmp_path / "run"))


def store(storage: Storage, run: str, index: int) -> None:
    storage.write(f"{run}/checkpoint_{index:06d}/m", b"abc")


def test_numbers_go_on_above_every_directory_committed_or_not(place: tuple[Storage, str]) -> None:
    storage, run = place
    checkpoints = begin(storage, run, 0)
    assert checkpoints.claim(0) == 0
    store(storage, run, 7)
    assert checkpoints.claim(0) == 8
    assert checkpoints.claim(20) == 20


def test_the_number_of_a_directory_that_nobody_claimed_is_not_given_again(place: tuple[Storage, str]) -> None:
    """Somebody copied it there, say. It is deleted like every directory without a commit, and decided against."""
    storage, run = place
    store(storage, run, 2)
    checkpoints = begin(storage, run, 0)
    assert checkpoints.recover() == []
    assert checkpoints.sweep([]) == [2]
    assert checkpoints.claim(0) == 3
    store(storage, run, 3)
    assert checkpoints.commit(commit_of(3)).index == 3


class Outage:
    """A store that stops to answer with its n-th look or write, done or not, and is back for the one after it."""

    def __init__(self, storage: Storage, calls: int, *, done: bool) -> None:
        self._storage = storage
        self._left = calls
        self._done = done

    def __getattr__(self, name: str) -> object:
        found = getattr(self._storage, name)
        if name not in ("create_if_absent", "files", "directories"):
            return found

        def call(*arguments: object) -> object:
            self._left -= 1
            if self._left == 0:
                if self._done:
                    found(*arguments)
                raise StorageError("connection reset", retryable=True)
            return found(*arguments)

        return call


# What a claim does: two listings, the claim itself, a look at the attempts.
@pytest.mark.parametrize("call", [1, 2, 3, 4])
@pytest.mark.parametrize("done", [False, True])
def test_a_claim_that_is_repeated_after_an_outage_leaves_no_gap_in_the_numbers(
    place: tuple[Storage, str], call: int, done: bool
) -> None:
    storage, run = place
    owner = attempts.begin(storage, run, run_id="r", attempt=0, token="r-0", time="t")
    checkpoints = Checkpoints(Outage(storage, call, done=done), run, owner)  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="reset"):
        checkpoints.claim(0)
    assert [checkpoints.claim(0), checkpoints.claim(0)] == [0, 1]


def test_a_number_that_another_attempt_took_during_an_outage_is_not_given_twice(place: tuple[Storage, str]) -> None:
    storage, run = place
    owner = attempts.begin(storage, run, run_id="r", attempt=0, token="r-0", time="t")
    older = Checkpoints(Outage(storage, 3, done=False), run, owner)  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="reset"):
        older.claim(0)
    assert begin(storage, run, 1).claim(0) == 0
    with pytest.raises(FencedError):
        older.claim(0)
    assert "r-1" in storage.read(f"{run}/.paceline/claims/checkpoint_000000.json").decode()


def test_a_commit_needs_every_file_in_its_size(place: tuple[Storage, str]) -> None:
    storage, run = place
    checkpoints = begin(storage, run, 0)
    store(storage, run, checkpoints.claim(0))
    with pytest.raises(StorageError, match="has 3 bytes in the store, not 4"):
        checkpoints.commit(commit_of(0, size=4))
    assert checkpoints.commit(commit_of(0)).path == f"{run}/checkpoint_000000"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"{}",
        b'{"index": "seven"}',
        b'{"index": 0, "files": ["m"]}',
        b'{"index": 0, "external": ["s3://b/x"]}',
        b'{"index": 0, "external": {"zero": "s3://b/x"}}',
        b'{"index": 0, "metrics": 3}',
        b'{"index": 0, "ranks": 3}',
    ],
)
def test_a_damaged_commit_is_named_and_hides_no_other(place: tuple[Storage, str], content: bytes) -> None:
    storage, run = place
    checkpoints = begin(storage, run, 0)
    store(storage, run, 1)
    checkpoints.commit(commit_of(1))
    storage.write(f"{run}/checkpoint_000000/.paceline.json", content)
    with pytest.raises(DamagedCommitError, match=r"checkpoint_000000/\.paceline\.json is not a commit"):
        read_commits(storage, run)
    damaged: dict[str, str] = {}
    assert [commit.index for commit in read_commits(storage, run, damaged)] == [1]
    assert list(damaged) == ["checkpoint_000000"]


def test_whenever_the_writer_dies_the_next_attempt_sees_all_or_nothing(tmp_path: Path) -> None:
    outcomes = []
    for writes in range(1, 12):
        storage, run = resolve(str(tmp_path / str(writes)))
        try:
            dying: Storage = Dying(storage, writes)  # type: ignore[assignment]
            first = begin(dying, run, 0)
            index = first.claim(0)
            store(dying, run, index)
            first.commit(commit_of(index))
            first.delete(index)
        except CrashError:
            pass
        second = begin(storage, run, 1)
        found = second.recover()
        second.sweep([commit.index for commit in found])
        there = {e.name: e.size for e in storage.files(f"{run}/checkpoint_000000")}
        if found:
            assert there.get("m") == 3
            assert ".paceline.json" in there
        else:
            assert there == {}
        assert second.recover() == found
        outcomes.append(len(found))
    # attempt, claim, file | decision, commit, deletion of the decision | deletion of the commit, the files, the claim
    assert outcomes[:3] == [0, 0, 0]
    assert outcomes[3:6] == [1, 1, 1]
    assert outcomes[6:] == [0] * 5


def test_an_older_attempt_cannot_commit_after_a_newer_has_begun(place: tuple[Storage, str]) -> None:
    storage, run = place
    old = begin(storage, run, 0)
    store(storage, run, old.claim(0))
    new = begin(storage, run, 1)
    with pytest.raises(FencedError, match="attempt 1 writes to"):
        old.commit(commit_of(0))
    assert new.recover() == []
    assert new.claim(0) == 1


def test_a_commit_that_passed_the_fence_just_before_is_stopped_by_the_decision(
    place: tuple[Storage, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, run = place
    old = begin(storage, run, 0)
    store(storage, run, old.claim(0))
    newer: list[Checkpoints] = []

    def check_then_stall(*_: object) -> None:
        newer.append(begin(storage, run, 1))
        newer[0].sweep([commit.index for commit in newer[0].recover()])

    monkeypatch.setattr(attempts, "check", check_then_stall)
    with pytest.raises(FencedError, match="abandoned"):
        old.commit(commit_of(0))
    assert storage.size(f"{run}/checkpoint_000000/.paceline.json") is None


def test_another_run_takes_the_directory_over_and_the_first_is_told(place: tuple[Storage, str]) -> None:
    storage, run = place
    old = begin(storage, run, 4, run_id="first")
    begin(storage, run, 0, run_id="second")
    with pytest.raises(FencedError, match=r"another run \(second\)"):
        old.claim(0)


def test_an_attempt_that_comes_late_may_not_begin(place: tuple[Storage, str]) -> None:
    storage, run = place
    begin(storage, run, 2)
    with pytest.raises(FencedError, match="attempt 2 of this run has begun already"):
        begin(storage, run, 1)
