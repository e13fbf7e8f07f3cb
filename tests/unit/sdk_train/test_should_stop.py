"""`should_stop()` as a process sees it: a flag without an agent, a page of memory with one."""

from __future__ import annotations

import os
import threading
import time
from itertools import count
from pathlib import Path

import pytest

from paceline import _contract as c
from paceline import train
from paceline._stop_page import ASKED, HOLD, OWNER, STOP_AT, create
from paceline.train import _stop
from tests.support.timeouts import LOCAL_S


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_page", None), ("_looked", False), ("_counts", False), ("_questions", count(1))):
        monkeypatch.setattr(_stop, name, value)
    monkeypatch.delenv(c.STOP_PAGE, raising=False)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> memoryview:
    monkeypatch.setenv(c.STOP_PAGE, str(tmp_path / "page"))
    return create(str(tmp_path / "page"))


def test_outside_a_worker_it_is_never_true() -> None:
    assert [train.should_stop() for _ in range(3)] == [False] * 3


def test_questions_are_counted_and_answered_from_the_agreed_one_on(page: memoryview) -> None:
    assert [train.should_stop() for _ in range(3)] == [False] * 3
    assert (page[ASKED], page[OWNER]) == (3, os.getpid())
    page[STOP_AT], page[HOLD] = 5, 1
    assert [train.should_stop() for _ in range(3)] == [False, True, True]


def test_a_held_question_waits_for_the_decision(page: memoryview) -> None:
    page[HOLD] = 1
    answers: list[bool] = []
    asking = threading.Thread(target=lambda: answers.append(train.should_stop()))
    asking.start()
    time.sleep(0.05)
    assert answers == []
    page[STOP_AT] = 1
    asking.join(LOCAL_S)
    assert answers == [True]


def test_without_a_lead_it_waits_in_vain_for_a_bounded_time(page: memoryview, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stop, "_PATIENCE_S", 0.05)
    page[HOLD] = 1
    assert train.should_stop()


def test_a_second_process_of_the_worker_asks_without_counting(page: memoryview) -> None:
    page[OWNER] = os.getpid() + 1  # such as the launcher that started this one
    assert [train.should_stop() for _ in range(3)] == [False] * 3
    page[HOLD] = 1
    assert not train.should_stop()
    page[STOP_AT] = 9
    assert train.should_stop()
    assert page[ASKED] == 0


def test_a_forked_child_asks_without_counting(page: memoryview) -> None:
    train.should_stop()
    child = os.fork()
    if not child:
        train.should_stop()
        os._exit(int(train.should_stop()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert page[ASKED] == 1
    assert not train.should_stop()
    assert page[ASKED] == 2


def test_a_page_that_cannot_be_read_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(c.STOP_PAGE, str(tmp_path / "gone"))
    assert not train.should_stop()
    assert not train.should_stop()
    assert capsys.readouterr().err.count("should_stop() is never true") == 1


def test_an_answer_costs_no_round_trip(page: memoryview) -> None:
    train.should_stop()

    def each_s() -> float:
        begun = time.perf_counter()
        for _ in range(10_000):
            train.should_stop()
        return (time.perf_counter() - begun) / 10_000

    # The best of many: other work on this machine only ever adds.
    assert min(each_s() for _ in range(20)) < 5e-6
