from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bench import Bench
from benchmarks.scale import __main__ as scale
from benchmarks.scale.pace import BEHIND_S, at_rate, paced
from benchmarks.scale.size import Size

# Five requests within 50 ms, on cores as busy as they may be.
STARTS_S = 10.0


@pytest.mark.parametrize(
    ("done", "kept_up"),
    [
        pytest.param({"a": 1.2, "b": 2.2, "c": 3.2}, True, id="each a little later"),
        pytest.param({"a": 1.2, "b": 2.2}, False, id="one was never done"),
        pytest.param({"a": 1.2, "b": 2.2, "c": 3.0 + BEHIND_S + 1}, False, id="a queue was left at the end"),
        pytest.param({}, False, id="nothing was done"),
    ],
)
def test_keeping_up_means_that_all_is_done_soon_after_the_last_was_asked_for(
    done: dict[str, float], kept_up: bool
) -> None:
    pace = paced({"a": 1.0, "b": 2.0, "c": 3.0}, done, 3)
    assert pace.kept_up is kept_up
    assert pace.figures()["done"] == len(done)


def test_lags_run_from_asked_for_to_done() -> None:
    figures = paced({"a": 1.0, "b": 2.0}, {"a": 1.5, "b": 4.0}, 2).figures()
    assert (figures["p50_s"], figures["p99_s"], figures["behind_s"]) == (2.0, 2.0, 2.0)


def test_nothing_done_has_no_lag() -> None:
    assert paced({"a": 1.0}, {}, 1).figures()["p99_s"] is None


async def test_requests_are_started_when_they_are_due_though_earlier_ones_have_no_answer() -> None:
    all_started = asyncio.Event()

    async def send(number: int) -> None:
        if number == 4:
            all_started.set()
        # A client that waits for its answers would never start the second one.
        await all_started.wait()

    due = await asyncio.wait_for(at_rate(100, 5, send), STARTS_S)
    assert [round(later - earlier, 6) for earlier, later in pairwise(due)] == [0.01] * 4


def test_a_trial_has_a_part_of_everything_and_never_nothing() -> None:
    assert (Size(0.1, 20).of(1000), Size(0.001, 20).of(100)) == (100, 2)


def test_each_part_is_on_record_when_it_is_done_and_a_failure_costs_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scale.json"
    file.write_text(json.dumps({"soak": {"minutes": 20}}))

    def broken(bench: Bench, size: Size) -> dict[str, Any]:
        assert "one-job" in json.loads(file.read_text())
        raise RuntimeError("the bed fell over")

    parts = {
        "one-job": scale.Entry(lambda bench, size: {"pods": size.of(100)}, lambda figures: ["| one job |"], 1),
        "churn": scale.Entry(broken, lambda figures: [], 1),
        "restart": scale.Entry(lambda bench, size: {"pods": 7}, lambda figures: ["| restart |"], 1),
    }
    monkeypatch.setattr(scale, "PARTS", parts)
    monkeypatch.setattr(scale, "_measure", lambda entry, size, name: entry.run(None, size))
    assert scale.main(["--fraction", "0.5", "--write", str(file)]) == 1
    written = json.loads(file.read_text())
    assert written["soak"] == {"minutes": 20}
    assert written["one-job"]["pods"] == 50
    assert written["one-job"]["fraction"] == 0.5
    assert written["restart"]["pods"] == 7
    assert "churn" not in written
    said = capsys.readouterr().out
    assert "| one job |" in said
    assert "no figures: churn" in said


@pytest.mark.parametrize("fraction", ["0", "-1", "1.5"])
def test_a_fraction_beyond_the_whole_is_refused(fraction: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        scale.main(["--fraction", fraction])
    assert f"--fraction is {float(fraction)}" in capsys.readouterr().err
