from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from paceline.agent import runfiles
from paceline.agent.reports import Report
from paceline.agent.runfiles import RunFiles
from paceline.storage import resolve


def write(directory: Path, *reports: dict[str, Any]) -> None:
    files = RunFiles(directory, attempt=0)
    files.open()
    for i, metrics in enumerate(reports):
        files.report(Report(metrics, step=i + 1, time=0.5, iteration=i + 1))
    files.close()


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "result.json").read_text().splitlines()]


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "progress.csv").open(newline="") as f:
        return list(csv.DictReader(f))


def test_a_line_has_the_metrics_and_where_they_belong(tmp_path: Path) -> None:
    write(tmp_path, {"loss": 0.5})
    own = {"step": 1, "time": "1970-01-01T00:00:00.500Z", "attempt": 0, "iteration": 1}
    assert lines(tmp_path) == [{"loss": 0.5, **own}]


def test_a_metric_keeps_its_name_and_ours_moves_aside(tmp_path: Path) -> None:
    write(tmp_path, {"time": 3.5, "step": 1}, {"step": 99.5})
    first, second = lines(tmp_path)
    assert (first["time"], first["_time"], first["step"]) == (3.5, "1970-01-01T00:00:00.500Z", 1)
    assert "_step" not in first
    assert (second["step"], second["_step"]) == (99.5, 2)


def test_new_columns_widen_the_csv_and_nested_metrics_are_flat(tmp_path: Path) -> None:
    write(tmp_path, {"a": 1}, {"a": 2, "val": {"acc": 0.5}, "list": [1, 2]}, {"val": {"acc": 0.75}})
    assert [(row["a"], row["val/acc"], row["list"]) for row in rows(tmp_path)] == [
        ("1", "", ""),
        ("2", "0.5", "[1, 2]"),
        ("", "0.75", ""),
    ]


def test_a_restart_fetches_and_continues_also_after_a_cut_line(tmp_path: Path) -> None:
    storage, store = resolve(str(tmp_path / "store"))
    first = RunFiles(tmp_path / "first", attempt=0)
    first.open()
    first.report(Report({"a": 1}, step=1, time=0, iteration=1))
    first.flush()
    first.sync(storage, store)
    with (tmp_path / "store/result.json").open("a") as f:
        f.write('{"a": 2, "st')
    second = RunFiles(tmp_path / "second", attempt=1)
    second.fetch(storage, store)
    second.open()
    second.report(Report({"b": 3}, step=2, time=0, iteration=2))
    second.close()
    assert [(line.get("a"), line.get("b"), line["attempt"]) for line in lines(tmp_path / "second")] == [
        (1, None, 0),
        (None, 3, 1),
    ]
    assert [(row["a"], row["b"]) for row in rows(tmp_path / "second")] == [("1", ""), ("", "3")]


def test_odd_texts_and_huge_numbers_neither_stop_nor_damage_the_files(tmp_path: Path) -> None:
    write(tmp_path, {"a\ud800": "\ud800", "b": 10**400, "c": "line\nbreak"}, {"b": 1})
    assert lines(tmp_path)[0]["b"] == 10**400
    assert [row["b"] for row in rows(tmp_path)] == [str(10**400), "1"]


def test_reports_are_kept_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = RunFiles(tmp_path, attempt=0)
    files.open()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(runfiles, "_append", full)
        files.report(Report({"a": 1}, step=1, time=0, iteration=1))
        files.flush()
    files.report(Report({"a": 2}, step=2, time=0, iteration=2))
    files.close()
    assert [line["a"] for line in lines(tmp_path)] == [1, 2]
    assert [row["a"] for row in rows(tmp_path)] == ["1", "2"]


def test_a_write_that_fails_half_way_leaves_no_half_line(tmp_path: Path) -> None:
    class Filling:
        """A disk that takes three bytes more."""

        def __init__(self, file: Any) -> None:
            self._file = file
            self._left = 3

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def write(self, data: Any) -> int:
            if not self._left:
                raise OSError(28, "No space left on device")
            taken, self._left = self._left, 0
            return int(self._file.write(bytes(data[:taken])))

    path = tmp_path / "f"
    path.write_bytes(b"whole\n")
    with path.open("ab", buffering=0) as f, pytest.raises(OSError, match="No space"):
        runfiles._append(Filling(f), b"second\n")  # type: ignore[arg-type]
    assert path.read_bytes() == b"whole\n"
