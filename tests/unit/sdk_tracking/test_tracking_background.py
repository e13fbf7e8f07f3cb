"""Reports go to sinks in the background: a sink that fails, is slow, or is never there ends no training."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from paceline import _contract as c
from paceline.tracking import _background, _finishing
from paceline.tracking._sinks import OPENERS, Commit, Entry, Report, numbers
from tests.support.timeouts import LOCAL_S


class Sink:
    """A tracker that fails as often as it is told to."""

    def __init__(self) -> None:
        self.taken: list[Entry] = []
        self.opened = 0
        self.fail: list[Exception] = []
        self.endings: list[str] = []
        self.hold = threading.Event()
        self.hold.set()

    def open(self) -> Sink:
        self.opened += 1
        if self.fail:
            raise self.fail.pop()
        _finishing.add("sink", self.endings.append)
        return self

    def log(self, entries: Sequence[Entry]) -> None:
        assert self.hold.wait(LOCAL_S)
        self.taken += entries


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    made = Sink()
    monkeypatch.setitem(OPENERS, "wandb", made.open)
    monkeypatch.setenv(c.TRACKING, json.dumps({"wandb": {}}))
    monkeypatch.delenv(c.RANK, raising=False)
    monkeypatch.setattr(_background, "_AGAIN_S", 0.05)
    yield made
    made.hold.set()


def begin() -> _background.Follower:
    found = _background.begin()
    assert found is not None
    return found


def line(**metrics: Any) -> str:
    return json.dumps({"t": "r", "w": 12.5, "m": metrics})[:-1]


def test_reports_are_logged_in_their_order_with_the_steps_of_the_run(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(c.RESUMED_CHECKPOINT, json.dumps({"step": 40}))
    follower = begin()
    follower.report(line(loss=1.0), None)
    follower.report(line(loss="NaN", step=50), None)
    _finishing.all_of("failed")
    first, second = sink.taken
    assert first == Report({"loss": 1.0}, 41, 12.5)
    assert isinstance(second, Report)
    assert second.step == 50
    assert second.metrics["loss"] != second.metrics["loss"]
    assert sink.endings == ["failed"]
    _finishing.all_of("succeeded")
    assert sink.endings == ["failed"]


def test_a_sink_that_fails_gets_everything_when_it_is_back(sink: Sink, capsys: pytest.CaptureFixture[str]) -> None:
    sink.fail = [ConnectionError("down"), ConnectionError("down")]
    follower = begin()
    for number in range(3):
        follower.report(line(loss=number), None)
    end = time.monotonic() + LOCAL_S
    while len(sink.taken) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert [entry.metrics["loss"] for entry in sink.taken if isinstance(entry, Report)] == [0, 1, 2]
    assert sink.opened == 3
    _finishing.all_of("succeeded")
    said = capsys.readouterr().err
    assert said.count("reports are not logged to Weights & Biases: ConnectionError: down. Training goes on") == 1


def test_what_cannot_come_back_is_not_tried_again(sink: Sink) -> None:
    sink.fail = [ImportError("not installed")] * 5
    follower = begin()
    for _ in range(20):
        follower.report(line(loss=1), None)
        time.sleep(0.01)
    _finishing.all_of("succeeded")
    assert (sink.opened, sink.taken, sink.endings) == (1, [], [])


def test_a_sink_that_hangs_costs_the_training_nothing_and_memory_is_bounded(
    sink: Sink, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_background, "_END_S", 0.2)
    monkeypatch.setattr(_background, "_HELD", 100)
    sink.hold.clear()
    follower = begin()
    begun = time.perf_counter()
    for number in range(1000):
        follower.report(line(loss=number), None)
    assert (time.perf_counter() - begun) / 1000 < 0.0005
    _finishing.all_of("succeeded")
    assert "did not take everything" in capsys.readouterr().err
    sink.hold.set()
    follower._feeds[0].join(LOCAL_S)
    assert 0 < len(sink.taken) <= 200
    assert sink.endings == ["succeeded"]


def test_other_ranks_and_broken_settings_follow_nothing(monkeypatch: pytest.MonkeyPatch, sink: Sink) -> None:
    monkeypatch.setenv(c.RANK, "1")
    assert _background.begin() is None
    monkeypatch.setenv(c.RANK, "0")
    monkeypatch.setenv(c.TRACKING, json.dumps({"tensorboard": {}}))
    assert _background.begin() is None
    monkeypatch.setenv(c.TRACKING, "[]")
    assert _background.begin() is None


def test_what_a_chart_can_show() -> None:
    metrics = {"a": 1, "b": {"c": 0.5, "d": True}, "text": "x", "none": None, "list": [1], "big": 10**400}
    assert numbers(metrics) == [("a", 1.0), ("b/c", 0.5), ("b/d", 1.0), ("big", float("inf"))]
    assert Commit("s3://bucket/x", 3).step == 3
