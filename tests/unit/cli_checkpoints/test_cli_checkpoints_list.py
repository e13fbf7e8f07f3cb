"""Rows, marks, and the checkpoint that a word means."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.agent.commits import Commit
from paceline.cli import checkpoint_list
from paceline.client.errors import NotFoundError, UsageError
from paceline.policy.retention import Retention
from paceline.train._location import Location
from tests.support.cli_objects import printed

LOSS = Retention(score_attribute="loss", score_order="min")


def found(index: int, name: str = "", size: int = 1_234_567, **metrics: Any) -> tuple[Location, Commit]:
    directory = name or f"checkpoint_{index:06d}"
    files = {"m": {"size": size, "crc32c": "00000000"}, "n": {"size": 1, "crc32c": "00000000"}}
    time = f"2026-01-02T03:04:{index:02}.123Z"
    commit = Commit(index, 1, index * 10, time, metrics, 2, files, (0, 1), name=name, path=f"s3://b/r/{directory}")
    return Location(f"s3://b/r/{directory}"), commit


RUN = [found(0, loss=3.0), found(1, loss=1.0), found(2, "final=1", loss="NaN")]


def test_latest_and_best_are_marked() -> None:
    assert [row.marks for row in checkpoint_list.rows(RUN, LOSS)] == [(), ("best",), ("latest",)]
    assert [row.marks for row in checkpoint_list.rows(RUN, None)] == [(), (), ("latest",)]
    assert checkpoint_list.rows(RUN[:2], LOSS)[-1].marks == ("latest", "best")
    assert checkpoint_list.rows([], LOSS) == []


@pytest.mark.parametrize(
    ("which", "index"), [("latest", 2), ("best", 1), ("0", 0), ("checkpoint_000001", 1), ("final=1", 2)]
)
def test_a_word_means_a_checkpoint(which: str, index: int) -> None:
    assert checkpoint_list.choose(checkpoint_list.rows(RUN, LOSS), which, LOSS).commit.index == index


def test_what_cannot_be_chosen_is_told() -> None:
    rows = checkpoint_list.rows(RUN, None)
    with pytest.raises(UsageError, match="best by which metric"):
        checkpoint_list.choose(rows, "best", None)
    with pytest.raises(NotFoundError, match="no checkpoint has a number as metric 'accuracy'"):
        checkpoint_list.choose(rows, "best", Retention(score_attribute="accuracy"))
    with pytest.raises(NotFoundError, match="no checkpoint '7'; committed are: 0, 1, 2"):
        checkpoint_list.choose(rows, "7", None)
    with pytest.raises(NotFoundError, match="committed are: none"):
        checkpoint_list.choose([], "latest", None)


def test_a_row_has_what_a_person_asks() -> None:
    lines = printed(checkpoint_list.table(checkpoint_list.rows(RUN, LOSS)), width=140).splitlines()
    assert lines[0].split() == ["INDEX", "NAME", "STEP", "TIME", "SIZE", "FILES", "METRICS"]
    assert lines[2].split() == ["1", "checkpoint_000001", "10", "2026-01-02", "03:04:01Z", "1.2", "MB", "2", "loss=1",
                                "best"]  # fmt: skip
    assert "final=1" in lines[3]


@pytest.mark.parametrize(
    ("size", "told"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (3 * 10**12, "3.00 TB")]
)
def test_sizes_are_short(size: int, told: str) -> None:
    assert checkpoint_list.size(size) == told
