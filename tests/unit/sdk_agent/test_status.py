from __future__ import annotations

import json
from typing import Any

import pytest

from paceline.agent.beat import RankState
from paceline.agent.failure import Failure, find_exception, from_exit, with_stacks
from paceline.agent.silence import lost_pods
from paceline.agent.status import slowest, termination_message

LONG = {f"metric_{i}": "ä" * 50 for i in range(100)}


@pytest.mark.parametrize("text", ["x", "ä", "日", "😀", '"', "\\", "\n", "\x00", "\udc80"])
@pytest.mark.parametrize("limit", [200, 700, 4096])
def test_a_termination_message_fits_and_is_json_whatever_the_texts_are(text: str, limit: int) -> None:
    failure = Failure(text * 3000, traceback=text * 5000, last_lines=tuple([text * 900] * 40), rank=3, exit_code=1)
    story: dict[str, Any] = {"progress": {"step": 1, "metrics": LONG}, "checkpoint": {"index": 1, "metrics": LONG}}
    message = termination_message("failed", 1, failure=failure, story=story, limit_bytes=limit)
    assert len(message) <= limit
    told = json.loads(message)
    assert (told["outcome"], told["exitCode"]) == ("failed", 1)


def test_the_oldest_lines_are_cut_first_and_the_end_of_the_traceback_stays() -> None:
    failure = Failure(
        "boom", traceback="T" * 3000 + "ValueError: boom", last_lines=tuple(f"line {i} " * 20 for i in range(50))
    )
    told = json.loads(termination_message("failed", 1, failure=failure, story={}))["failure"]
    assert told["lastLines"][-1].startswith("line 49")
    assert len(told["lastLines"]) >= 3
    assert told["traceback"].endswith("ValueError: boom")
    assert told["message"] == "boom"


def test_what_fits_is_not_cut() -> None:
    failure = Failure("boom", last_lines=("a", "b"), rank=0)
    story = {"checkpoint": {"index": 3, "metrics": {"loss": 0.5}}}
    told = json.loads(termination_message("failed", 1, failure=failure, story=story))
    assert told["failure"]["lastLines"] == ["a", "b"]
    assert told["checkpoint"] == story["checkpoint"]


@pytest.mark.parametrize(
    ("steps", "rank"),
    [((5, 3, 4), 1), ((3, 3), None), ((None, 3), None), ((3, None), None), ((), None), ((2, 1, 1), 1)],
)
def test_slowest_rank(steps: tuple[int | None, ...], rank: int | None) -> None:
    assert slowest([RankState(i, step=step) for i, step in enumerate(steps)]) == rank


TRACEBACK = ["noise", "Traceback (most recent call last):", '  File "a.py", line 1, in <module>', "    f()"]


@pytest.mark.parametrize(
    ("lines", "kind", "message"),
    [
        pytest.param([*TRACEBACK, "ValueError: bad: worse"], "ValueError", "bad: worse", id="plain"),
        pytest.param([*TRACEBACK, "torch.cuda.OutOfMemoryError: CUDA", "bye"], "OutOfMemoryError", "CUDA", id="module"),
        pytest.param([*TRACEBACK, "KeyboardInterrupt"], "KeyboardInterrupt", "KeyboardInterrupt", id="no message"),
        pytest.param(
            [*TRACEBACK, "KeyError: 1", "", "During handling of ...", "", *TRACEBACK, "OSError: 2"],
            "OSError",
            "2",
            id="last",
        ),
        pytest.param(
            [*TRACEBACK[2:] * 9, "mlflow.X: no key", "See there"], "X", "no key", id="its beginning is cut off"
        ),
    ],
)
def test_an_exception_is_found_in_the_output(lines: list[str], kind: str, message: str) -> None:
    found = find_exception(lines)
    assert found is not None
    assert (found["type"], found["message"]) == (kind, message)


@pytest.mark.parametrize("lines", [[], ["ValueError: no traceback"], TRACEBACK, [*TRACEBACK, "12: what"]])
def test_no_exception_is_invented(lines: list[str]) -> None:
    assert find_exception(lines) is None


def test_a_failure_survives_the_wire() -> None:
    failure = from_exit(3, -9, time="2026-01-02T03:04:05Z", exception=None, last_lines=["a"])
    assert (failure.exit_code, failure.signal) == (137, "SIGKILL")
    assert Failure.from_json(json.loads(json.dumps(failure.to_json()))) == failure


@pytest.mark.parametrize(
    ("said", "refused", "reason"),
    [
        pytest.param("not shared", "not shared", "StorageError", id="the refusal ended it"),
        pytest.param("boom", "not shared", "Error", id="something else ended it"),
        pytest.param("boom", "", "Error", id="nothing is refused"),
        pytest.param("", "", "Error", id="no words at all"),
    ],
)
def test_a_report_that_no_attempt_can_make_lays_the_failure_to_the_store(said: str, refused: str, reason: str) -> None:
    exception = {"type": "RuntimeError", "message": said, "traceback": ""}
    failure = from_exit(0, 1, time="", exception=exception, last_lines=[], refused=refused)
    assert failure.reason == reason


@pytest.mark.parametrize(
    ("now", "heard", "done", "said"),
    [
        pytest.param(10, {1: 9}, (), None, id="heard of"),
        pytest.param(30, {1: 9}, (), "has fallen silent for 21 s", id="silent"),
        pytest.param(30, {1: 9}, (1,), None, id="done"),
        pytest.param(99, {}, (), None, id="may still come"),
        pytest.param(101, {}, (), "has not come up for 101 s", id="never came"),
    ],
)
def test_lost_pods(now: float, heard: dict[int, float], done: tuple[int, ...], said: str | None) -> None:
    found = lost_pods(2, 4, now=now, started=0, heard=heard, done=frozenset(done), start_limit_s=100, limit_s=20)
    assert len(found) == (said is not None)
    assert all(said in failure.message for failure in found.values() if said is not None)


@pytest.mark.parametrize(
    ("felt", "awake", "lost"),
    [
        pytest.param({}, 0, True, id="nothing speaks for it"),
        pytest.param({1: 35}, 0, False, id="it gives signs of life: its agent is busy"),
        pytest.param({1: 15}, 0, True, id="these have ended too"),
        pytest.param({}, 30, False, id="the lead itself has slept until now"),
        pytest.param({}, 15, True, id="the lead woke long ago"),
    ],
)
def test_a_pod_that_does_not_beat_may_have_an_excuse(felt: dict[int, float], awake: float, lost: bool) -> None:
    found = lost_pods(
        2, 4, now=40, started=0, heard={1: 9}, done=frozenset(), start_limit_s=100, limit_s=20, felt=felt, awake=awake
    )
    assert (1 in found) == lost


def test_every_lost_pod_is_told_the_first_one_first() -> None:
    found = lost_pods(4, 2, now=40, started=0, heard={1: 9, 2: 39, 3: 9}, done=frozenset(), start_limit_s=9, limit_s=20)
    assert [(node, failure.rank) for node, failure in found.items()] == [(1, 2), (3, 6)]


def test_signs_of_life_of_an_agent_that_hangs_do_not_count_for_ever() -> None:
    def found(now: float) -> bool:
        return 1 in lost_pods(
            2, 1, now=now, started=0, heard={1: 0}, done=frozenset(), start_limit_s=9, limit_s=20, felt={1: now - 1}
        )  # fmt: skip

    assert [found(now) for now in (100, 600, 621)] == [False, False, True]


def test_the_stacks_of_a_stall_are_told_without_the_names_of_all_modules() -> None:
    lines = [
        "Fatal Python error: Aborted",
        '  File "train.py", line 49 in main',
        "",
        "Extension modules: a, b (total: 2)",
    ]
    assert with_stacks(Failure("rank 3 hangs", rank=3), lines).last_lines == tuple(lines[:3])
