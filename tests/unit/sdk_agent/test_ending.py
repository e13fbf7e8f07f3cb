"""Asked first, killed in time."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.agent.ending import Ending


class Asked:
    """A process that notes what is asked of it."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def ask_to_end(self) -> None:
        self.told.append("end")

    def ask_for_stacks(self) -> None:
        self.told.append("stacks")

    def kill(self) -> None:
        self.told.append("kill")


def at(process: Asked, ending: Ending, clock: list[float], now: float) -> list[str]:
    """What the process has been told by a time."""
    clock[0] = now
    ending.enforce()
    return process.told


def begin(grace_s: float = 30) -> tuple[Any, Ending, list[float]]:
    process, clock = Asked(), [100.0]
    processes: Any = [process]
    return process, Ending(processes, grace_s, clock=lambda: clock[0]), clock


def test_a_process_that_does_not_ask_gets_the_signal_at_once() -> None:
    process, ending, clock = begin()
    assert not ending.begun
    ending.after_signal(100, asking=False)
    assert ending.begun
    assert at(process, ending, clock, 117) == ["end"]
    assert at(process, ending, clock, 118) == ["end", "kill"]


def test_a_process_that_asks_has_half_of_the_grace_period_before_it() -> None:
    process, ending, clock = begin()
    ending.after_signal(100, asking=True)
    assert at(process, ending, clock, 114) == []
    assert at(process, ending, clock, 115) == ["end"]
    assert at(process, ending, clock, 117) == ["end"]
    assert at(process, ending, clock, 118) == ["end", "kill"]


def test_who_insists_ends_it_at_once_and_once() -> None:
    process, ending, clock = begin()
    ending.after_signal(100, asking=True)
    ending.ask()
    assert at(process, ending, clock, 117) == ["end"]


@pytest.mark.parametrize(("stacks", "said"), [(True, "stacks"), (False, "end")])
def test_survivors_of_a_failure_have_seconds(stacks: bool, said: str) -> None:
    process, ending, clock = begin()
    ending.after_failure(stacks=stacks)
    assert at(process, ending, clock, 104) == [said]
    assert at(process, ending, clock, 105) == [said, "kill"]
