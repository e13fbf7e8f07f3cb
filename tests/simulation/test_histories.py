"""Histories out of seeds, bounded; `make simulate` plays 20,000 of them."""

from __future__ import annotations

import pytest

from tests.simulation.generate import generate
from tests.simulation.history import History
from tests.simulation.many import play_many, smallest
from tests.simulation.world import play


@pytest.mark.parametrize("seed", range(1, 40))
def test_a_history_is_printed_and_read_back(seed: int) -> None:
    history = generate(seed)
    assert History.parse(str(history)) == history


def test_a_history_plays_the_same_each_time() -> None:
    stories: list[list[str]] = [[], []]
    for story in stories:
        play(generate(11), trace=story.append)
    assert stories[0] == stories[1]
    assert len(stories[0]) > 20


def check(first: int, histories: int, seconds: float) -> None:
    summary = play_many(first, histories, seconds=seconds)
    if summary.broken:
        small, why = smallest(generate(summary.broken[0][0]))
        pytest.fail(f"seed {summary.broken[0][0]}: {why}\nreplay it: python -m tests.simulation '{small}'")
    assert summary.histories > 0


def test_some_histories_hold_every_invariant() -> None:
    check(1, 400, 5.0)
