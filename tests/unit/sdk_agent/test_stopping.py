"""No rank gets another answer than the others to the same question."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline._stop_page import ASKED, HOLD, STOP_AT, attach
from paceline.agent.stopping import SETTLE_S, Agreement, Stopping


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_a_pod_tells_is_true_once_its_processes_must_have_seen_the_order(tmp_path: Path) -> None:
    clock = Clock()
    pod = Stopping(tmp_path, clock=clock)
    pod.open([2, 3])
    process = attach(str(pod.path(3)))
    assert not pod.asks
    process[ASKED] = 7
    assert pod.asks
    assert pod.asked is None, "not held yet"
    pod.hold()
    assert process[HOLD] == 1
    assert pod.asked is None, "what the process writes at this moment may not be seen yet"
    process[ASKED] = 8
    clock.now += 2 * SETTLE_S
    assert pod.asked == 8
    pod.decide(9)
    assert process[STOP_AT] == 9


@pytest.mark.parametrize(
    ("told", "waited_s", "stop_at"),
    [
        pytest.param({0: 4, 1: 5}, 0.1, 6, id="the next one after those that were asked anywhere"),
        pytest.param({0: 4}, 0.1, 0, id="a pod has not told"),
        pytest.param({0: 4, 1: None}, 0.1, 0, id="a pod does not know yet"),
        pytest.param({0: 4, 1: None}, 5.1, 5, id="and never will"),
        pytest.param({0: 4, 1: "over"}, 0.1, 5, id="a pod whose processes have ended"),
        pytest.param({}, 5.1, 1, id="nobody"),
    ],
)
def test_the_lead_decides(told: dict[int, int | str | None], waited_s: float, stop_at: int) -> None:
    lead = Agreement(2)
    lead.leave(10.0)
    for node, asked in told.items():
        over = asked == "over"
        lead.heard(node, asks=True, asked=None if isinstance(asked, str) else asked, over=over)
    decided = lead.decide(10.0 + waited_s, patience_s=5)
    assert (lead.stop_at, decided is not None) == (stop_at, stop_at > 0)


def test_nothing_is_decided_before_a_pod_is_told_to_stop_and_once_only() -> None:
    lead = Agreement(1)
    lead.heard(0, asks=True, asked=None, over=False)
    assert lead.decide(1.0, patience_s=0) is None
    assert not lead.hold
    lead.leave(1.0)
    lead.heard(0, asks=True, asked=3, over=False)
    assert lead.decide(1.1, patience_s=5) == {"stop_at": 4, "missing": 0}
    lead.heard(0, asks=True, asked=9, over=False)
    assert lead.decide(1.2, patience_s=5) is None
    assert lead.stop_at == 4


class Rank:
    """A process that asks, as slowly as it is made to: it writes, looks, and answers in three steps of their own."""

    def __init__(self) -> None:
        self.page = [0, 0, 0, 0]
        self.number = 0
        self.answers: dict[int, bool] = {}
        self._looked: int | None = None

    def step(self) -> None:
        if self.number in self.answers or not self.number:
            if self.answers.get(self.number):
                return  # it has left
            self.number += 1
            self.page[ASKED] = self.number
            self._looked = None
        elif self._looked is None:
            self._looked = self.page[HOLD]
        elif not self._looked:
            self.answers[self.number] = False
        elif stop_at := self.page[STOP_AT]:
            self.answers[self.number] = self.number >= stop_at


@given(st.lists(st.sampled_from(["r0", "r1", "r2", "hold0", "hold1", "tell0", "tell1", "decide"]), max_size=120))
def test_whatever_the_order_all_ranks_leave_at_the_same_question(events: list[str]) -> None:
    """Two pods, of two ranks and of one, without any collective that would keep the ranks together."""
    ranks = [Rank(), Rank(), Rank()]
    pods = {0: ranks[:2], 1: ranks[2:]}
    lead = Agreement(2)
    lead.leave(0.0)
    held: set[int] = set()
    rest = ["hold0", "hold1", "tell0", "tell1", "decide"] + ["r0", "r1", "r2"] * 500
    for event in [*events, *rest]:
        kind, number = event.rstrip("0123456789"), int(event[-1]) if event[-1].isdigit() else 0
        if kind == "r":
            ranks[number].step()
        elif kind == "hold":
            held.add(number)
            for rank in pods[number]:
                rank.page[HOLD] = 1
        elif kind == "tell" and number in held:
            lead.heard(number, asks=True, asked=max(rank.page[ASKED] for rank in pods[number]), over=False)
        elif kind == "decide" and lead.decide(0.1, patience_s=5):
            for rank in ranks:
                rank.page[STOP_AT] = lead.stop_at
    assert len({rank.number for rank in ranks}) == 1
    assert all(rank.answers[rank.number] for rank in ranks)
