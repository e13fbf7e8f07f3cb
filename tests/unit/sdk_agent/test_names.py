from __future__ import annotations

import pytest

from paceline.agent import names


@pytest.mark.parametrize("name", ["step=1000", "best", "epoch_3-loss=0.25", "a" * 200, "checkpoint_best"])
def test_a_name_that_a_directory_may_have(name: str) -> None:
    assert names.directory_problem(name) == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "0 characters"),
        ("a" * 201, "201 characters"),
        ("a/b", "no name of a directory"),
        ("../a", "no name of a directory"),
        ("a b", "no name of a directory"),
        ("a\n", "no name of a directory"),
        ("..", "begins with a dot"),
        (".paceline", "begins with a dot"),
        ("artifacts", "the run itself"),
        ("result.json", "the run itself"),
        ("events.out.tfevents.1", "the run itself"),
        ("checkpoint_000001", "numbers checkpoints"),
        ("checkpoint_7", "numbers checkpoints"),
    ],
)
def test_a_name_that_it_may_not_have(name: str, said: str) -> None:
    assert said in names.directory_problem(name)


@pytest.mark.parametrize("name", ["m", "a/b.pt", "..a/b..c", "ä ö", ".hidden", "sub/.paceline.json"])
def test_a_file_name_that_is_fine(name: str) -> None:
    assert names.file_problem(name) == ""


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", "a//b", "./a", "a/.", "a\0b", ".paceline.json"])
def test_a_file_name_that_is_refused(name: str) -> None:
    assert names.file_problem(name) != ""
