"""Checkpoints with a directory of another name: the same protocol, found by their commit wherever they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.agent import attempts
from paceline.agent.commits import Checkpoints, Commit, NameTakenError, read_commits
from paceline.agent.rounds import Rounds
from paceline.storage import Storage, resolve


@pytest.fixture
def place(tmp_path: Path) -> tuple[Storage, str]:
    return resolve(str(tmp_path / "run"))


def begin(storage: Storage, run: str, attempt: int) -> Checkpoints:
    token = f"token-{attempt}"
    return Checkpoints(storage, run, attempts.begin(storage, run, run_id="r", attempt=attempt, token=token, time="t"))


def commit_of(index: int, name: str) -> Commit:
    return Commit(index, 0, 5, "t", {}, 1, {"m": {"size": 3, "crc32": "0"}}, (0,), "r", 5, name=name)


def stored(storage: Storage, run: str, checkpoints: Checkpoints, name: str) -> Commit:
    index = checkpoints.claim(0, name)
    storage.write(f"{run}/{name}/m", b"abc")
    return checkpoints.commit(commit_of(index, name))


def test_numbers_go_on_and_readers_find_them_in_order(place: tuple[Storage, str]) -> None:
    storage, run = place
    checkpoints = begin(storage, run, 0)
    for name in ("zebra", "ant"):
        stored(storage, run, checkpoints, name)
    storage.write(f"{run}/notes/readme", b"not a checkpoint")
    assert [(c.index, c.directory) for c in read_commits(storage, run)] == [(0, "zebra"), (1, "ant")]
    assert begin(storage, run, 1).claim(0) == 2


def test_a_name_that_holds_anything_is_taken(place: tuple[Storage, str]) -> None:
    storage, run = place
    checkpoints = begin(storage, run, 0)
    stored(storage, run, checkpoints, "best")
    storage.write(f"{run}/mine/notes", b"a person's")
    for name in ("best", "mine"):
        with pytest.raises(NameTakenError, match=f"{name} is there already"):
            checkpoints.claim(0, name)


def test_a_copied_directory_is_no_second_checkpoint(place: tuple[Storage, str]) -> None:
    storage, run = place
    stored(storage, run, begin(storage, run, 0), "best")
    storage.write(f"{run}/copy/.paceline.json", storage.read(f"{run}/best/.paceline.json"))
    assert [c.directory for c in read_commits(storage, run)] == ["best"]


def test_what_an_attempt_left_under_a_name_is_cleared_and_the_name_is_free_again(place: tuple[Storage, str]) -> None:
    storage, run = place
    begin(storage, run, 0).claim(0, "best")
    storage.write(f"{run}/best/half", b"ab")
    second = begin(storage, run, 1)
    assert second.recover() == []
    second.sweep([])
    assert storage.size(f"{run}/best/half") is None
    done = stored(storage, run, second, "best")
    third = begin(storage, run, 2)
    found = third.recover()
    third.sweep([commit.index for commit in found])  # the first claim's number is still an abandoned one
    assert [commit.index for commit in found] == [done.index] == [1]
    assert storage.size(f"{run}/best/m") == 3


def test_a_decided_commit_is_finished_under_its_name(place: tuple[Storage, str]) -> None:
    storage, run = place
    stored(storage, run, begin(storage, run, 0), "best")
    storage.delete(f"{run}/best/.paceline.json")
    assert [c.path for c in begin(storage, run, 1).recover()] == [f"{run}/best"]
    assert storage.size(f"{run}/best/.paceline.json") is not None


def test_own_uploads_are_told_in_the_commit_and_name_the_place_of_the_files() -> None:
    commit = Commit(
        3, 0, 5, "t", {}, 2, {}, (0, 1), "r", 5, external={1: "s3://b/one", 0: "s3://b/zero"}, path="/run/c"
    )
    again = Commit.from_json(commit.to_json(), "/run/c")
    assert again == commit
    assert commit.to_json()["external"] == {"1": "s3://b/one", "0": "s3://b/zero"}
    assert (commit.summary()["path"], commit.path) == ("s3://b/zero", "/run/c")


def test_a_round_has_the_name_that_all_givers_agree_on() -> None:
    for names, expected, disagreement in (
        (("a", "a"), "a", {}),
        (("a", "b"), "", {0: "a", 1: "b"}),
        (("a", ""), "", {0: "a", 1: ""}),
    ):
        rounds = Rounds(range(2))
        for rank, name in enumerate(names):
            rounds.seen(rank, 1)
            rounds.offered(0, rank, {}, name=name, external=f"/e/{rank}")
        merge = rounds.decide()
        assert merge is not None
        assert (merge.name, dict(merge.names)) == (expected, disagreement)
        assert merge.external == {0: "/e/0", 1: "/e/1"}


def test_a_round_is_reached_when_every_rank_that_still_reports_is_there() -> None:
    rounds = Rounds(range(3))
    for rank, reports in enumerate((5, 2, 3)):
        rounds.seen(rank, reports)
    assert rounds.reached == 2
    rounds.ended(1, failed=False)
    assert rounds.reached == 3
    rounds.ended(0, failed=False)
    rounds.ended(2, failed=False)
    assert rounds.reached == 5
