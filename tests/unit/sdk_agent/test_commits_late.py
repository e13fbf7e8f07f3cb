"""An agent that was frozen for a whole attempt goes on: does it bring a deleted checkpoint back?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paceline.agent import attempts
from paceline.agent.commits import Checkpoints, Commit, read_commits
from paceline.agent.errors import FencedError
from paceline.storage._local import LocalStorage

COMMIT = Commit(0, 0, 1, "", {}, 1, {"model": {"size": 3, "crc32": "352441c2"}}, (0,))


class Freezing(LocalStorage):
    """A store whose client sleeps right before it writes a commit file."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.meanwhile = meanwhile

    def create_if_absent(self, path: str, data: bytes) -> bool:
        if path.endswith("/.paceline.json"):
            self.meanwhile()
        return super().create_if_absent(path, data)


class Killed(Freezing):
    """And is killed right after."""

    def size(self, path: str) -> int | None:
        raise SystemExit


def own(storage: LocalStorage, run: str, attempt: int) -> Checkpoints:
    entry = attempts.begin(storage, run, run_id="run-1", attempt=attempt, token=f"t{attempt}", time="")
    return Checkpoints(storage, run, entry)


def next_attempt(run: str) -> Callable[[], None]:
    def work() -> None:
        newer = own(LocalStorage(), run, 1)
        assert [commit.index for commit in newer.recover()] == [0], "it was decided, so it counts"
        newer.delete(0)  # retention

    return work


def begin(storage: LocalStorage, run: str) -> Checkpoints:
    checkpoints = own(storage, run, 0)
    assert checkpoints.claim(0) == 0
    storage.write(f"{run}/checkpoint_000000/model", b"abc")
    return checkpoints


def test_a_commit_that_comes_after_its_deletion_is_taken_back(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    late = begin(Freezing(next_attempt(run)), run)
    with pytest.raises(FencedError, match="has committed and deleted"):
        late.commit(COMMIT)
    assert read_commits(LocalStorage(), run) == []


def test_where_it_could_not_be_taken_back_the_next_attempt_does_not_take_it_for_whole(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    late = begin(Killed(next_attempt(run)), run)
    with pytest.raises(SystemExit):
        late.commit(COMMIT)
    storage = LocalStorage()
    assert len(read_commits(storage, run)) == 1
    assert own(storage, run, 2).recover() == []
    assert read_commits(storage, run) == []


def test_a_checkpoint_whose_deletion_had_only_begun_still_counts(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    storage = LocalStorage()
    begin(storage, run).commit(COMMIT)
    storage.delete(f"{run}/.paceline/decisions/checkpoint_000000.json")
    assert [commit.index for commit in own(storage, run, 1).recover()] == [0]
