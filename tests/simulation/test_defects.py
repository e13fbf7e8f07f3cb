"""The simulator finds what is wrong: defects that are put into the real controller, each within a bounded number of
histories, and tells them shrunk."""

from __future__ import annotations

import pytest

from tests.simulation.defects import SEEDED
from tests.simulation.generate import generate
from tests.simulation.history import History
from tests.simulation.many import play_many, smallest
from tests.simulation.world import play

ASKED_FOR = ("expectations dropped", "past attempts count", "requeue lost")
HISTORIES = 100
MORE_HISTORIES = 500
# Few histories show these: the search begins shortly before the first that does.
FIRST = {
    "version not sent": 501, "kinds taken for gone": 551, "eviction for preemption": 131, "services not watched": 96,
    "parts are held": 101, "roll not called": 86, "freed sets count": 81, "starts take for ever": 56,
    "strangers adopted": 41,
}  # fmt: skip


def found(first: int, histories: int) -> int:
    """Return the first seed whose history breaks something."""
    summary = play_many(first, histories)
    assert summary.broken, f"{summary.histories} histories find nothing"
    return summary.broken[0][0]


@pytest.mark.parametrize("name", ASKED_FOR)
def test_a_seeded_defect_is_found_and_told_shrunk(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        SEEDED[name](patch)
        history = generate(found(1, HISTORIES))
        small, why = smallest(history, seconds=3.0)
        assert why
        print(f"{name}: {why}\n{small}")
        assert play(History.parse(str(small))).broken == why, "what is printed can be replayed"
        assert len(str(small)) <= len(str(history))
        assert len(small.faults) + len(small.writes) <= 2
    assert not play(small).broken, "it is the defect that breaks it"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SEEDED if name not in ASKED_FOR])
def test_any_seeded_defect_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    SEEDED[name](monkeypatch)
    found(FIRST.get(name, 1), MORE_HISTORIES)
