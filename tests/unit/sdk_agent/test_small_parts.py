"""Figures, the period of syncs, the working directory of links, the scan of artifacts, staged files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paceline.agent import artifacts, console, figures, runsync, staging, workdir


def test_the_rate_is_that_of_the_last_seconds() -> None:
    now = 0.0
    rate = figures.Rate(window_s=10, clock=lambda: now)
    assert rate.note(0) == 0
    seen = []
    for total in (100, 200, 300, 300, 300):
        now += 5
        seen.append(rate.note(total))
    assert seen[:3] == [20, 20, 20]
    assert seen[-1] == 0


def test_uploads_of_all_pods_are_summed_and_a_round_counts_once() -> None:
    pods: list[dict[str, float]] = [
        {"pendingBytes": 5, "waitSeconds": 1.25, "bytesPerSecond": 10.6},
        {"pendingBytes": 6},
    ]
    assert figures.uploads([3, 3, 4], pods) == {
        "pendingCheckpoints": 2,
        "pendingBytes": 11,
        "waitSeconds": 1.25,
        "bytesPerSecond": 10,
    }


@pytest.mark.parametrize(
    ("size_bytes", "cost_s", "period_s"),
    [
        pytest.param(10_000, 0.01, 2, id="small and fast"),
        pytest.param(30_000_000, 0.5, 30, id="large"),
        pytest.param(10_000, 3, 60, id="slow store"),
    ],
)
def test_large_files_and_slow_stores_are_synced_less_often(size_bytes: int, cost_s: float, period_s: float) -> None:
    assert runsync.period_s(size_bytes, cost_s) == period_s


def test_only_what_was_made_in_the_directory_of_links_is_an_artifact(tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "data").mkdir(parents=True)
    (image / "data/train.csv").touch()
    (image / "train.py").touch()
    work = workdir.linked(image, image / "agent/work")
    assert sorted(entry.name for entry in work.iterdir()) == ["data", "train.py"]
    assert workdir.linked(image, work) == work  # a second time, with the links there
    (work / "out/deep").mkdir(parents=True)
    (work / "out/deep/a.txt").write_text("abc")
    (work / "b.txt").touch()
    (work / "link-to-b").symlink_to("b.txt")
    os.mkfifo(work / "pipe")
    assert {name: mark[0] for name, mark in artifacts.scan(work)} == {"b.txt": 0, "out/deep/a.txt": 3}


def test_only_plain_files_below_the_staging_directory_are_taken(tmp_path: Path) -> None:
    given = tmp_path / "staging/rank0-1-0"
    (given / "sub").mkdir(parents=True)
    (given / "sub/m").write_text("abc")
    taken = staging.take(tmp_path / "staging", str(given), name="best")
    assert (taken.sizes, taken.name) == ({"sub/m": 3}, "best")
    for elsewhere in (tmp_path, given / "sub", tmp_path / "staging/..", tmp_path / "staging/none"):
        with pytest.raises(ValueError, match="is not a directory in"):
            staging.take(tmp_path / "staging", str(elsewhere))
    (given / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="is a link"):
        staging.take(tmp_path / "staging", str(given))
    (given / "link").unlink()
    (given / ".paceline.json").touch()
    with pytest.raises(ValueError, match="Paceline alone writes it"):
        staging.take(tmp_path / "staging", str(given))


def test_the_console_shows_the_first_the_last_and_one_report_a_second() -> None:
    said: list[str] = []
    now = 100.0
    shown = console.Console(said.append, clock=lambda: now)
    for step in range(25):
        shown.show(step, {"i": step})
        now += 0.125
    shown.flush()
    shown.flush()
    assert said == ["step 0: i=0", "step 8: i=8", "step 16: i=16", "step 24: i=24"]


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        pytest.param(
            {"loss": 0.123456789, "val": {"acc": 1.0}}, "step 3: loss=0.123457 val/acc=1", id="floats, nested"
        ),
        pytest.param({"step": 3, "a": "x\ny", "b": None}, "step 3: a=x y b=None", id="one line"),
        pytest.param({"a": list(range(99))}, "step 3: a=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1...", id="long"),
        pytest.param(
            {str(i): i for i in range(14)},
            "step 3: 0=0 1=1 2=2 3=3 4=4 5=5 6=6 7=7 8=8 9=9 10=10 11=11 and 2 more",
            id="many",
        ),
        pytest.param({}, "step 3: no metrics", id="none"),
    ],
)
def test_a_line_of_the_console(metrics: dict[str, object], text: str) -> None:
    assert console.line(3, metrics) == text
