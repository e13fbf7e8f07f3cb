"""What holds a silent process up?"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.agent.beat import RankState
from paceline.agent.holdups import Held, Holdups, state_of
from paceline.agent.process import Process
from tests.support.agents import wait_for


class World:
    """One process of one rank, whose state is given. It is asked every half second, as beats do."""

    def __init__(self, stall_s: float = 40.0) -> None:
        self.now, self.state, self.looks = 100.0, "", 0
        self.holdups = Holdups(stall_s, look=self._look, clock=lambda: self.now)
        self.holdups.started(1, 77)

    def _look(self, pid: int) -> Held:
        assert pid == 77
        self.looks += 1
        return self.state  # type: ignore[return-value]

    def after(self, seconds: float, rank: RankState) -> str:
        for _ in range(round(2 * seconds)):
            self.now += 0.5
            (told,) = self.holdups.told([rank])
        return told.held


@pytest.mark.parametrize("state", ["T", "t"])
def test_a_stopped_process_is_told_once_it_has_been_silent_for_long(state: str) -> None:
    world = World()
    world.state = state
    assert world.after(20, RankState(1, reports=0)) == ""
    assert world.looks == 0, "while all is well nothing is read"
    assert world.after(0.5, RankState(1, reports=0)) == state
    assert world.after(10, RankState(1, reports=0)) == state
    assert world.looks == 6, "once in two seconds"


def test_a_process_that_goes_on_is_held_up_no_more() -> None:
    world = World()
    world.state = "T"
    assert world.after(30, RankState(1)) == "T"
    world.state = ""
    assert world.after(2, RankState(1)) == ""
    world.state = "T"
    assert world.after(2, RankState(1)) == "T"
    assert world.after(0.5, RankState(1, reports=1)) == ""
    assert world.after(20, RankState(1, reports=1)) == "", "its silence begins anew"


def test_waiting_for_a_device_counts_when_it_lasts() -> None:
    world = World()
    world.state = "D"
    assert world.after(24, RankState(1)) == ""
    assert world.after(1, RankState(1)) == "D"
    world.state = ""
    assert world.after(2, RankState(1)) == ""
    world.state = "D"
    assert world.after(2, RankState(1)) == ""


@pytest.mark.parametrize(
    ("stall_s", "rank"),
    [
        pytest.param(0.0, RankState(1), id="no silence is too long"),
        pytest.param(40.0, RankState(1, "failed"), id="it has ended"),
        pytest.param(40.0, RankState(0), id="another's process"),
    ],
)
def test_nothing_is_read_where_nobody_asks(stall_s: float, rank: RankState) -> None:
    world = World(stall_s)
    world.state = "T"
    assert world.after(100, rank) == ""
    assert world.looks == 0


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        yield process
        for pid in (*_children(process.pid), process.pid):
            subprocess.run(["kill", "-KILL", str(pid)], check=False)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("who", ["itself", "its child"])
def test_a_stopped_process_is_seen_and_so_is_one_that_it_started(sleeper: subprocess.Popen[bytes], who: str) -> None:
    (child,) = wait_for(lambda: _children(sleeper.pid))
    assert state_of(sleeper.pid) in ("", "D")
    stopped = sleeper.pid if who == "itself" else child
    subprocess.run(["kill", "-STOP", str(stopped)], check=True)
    wait_for(lambda: state_of(sleeper.pid) == "T")
    subprocess.run(["kill", "-CONT", str(stopped)], check=True)
    wait_for(lambda: state_of(sleeper.pid) == "")


def test_a_process_that_is_gone_is_held_up_by_nothing() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert state_of(gone.pid) == ""


def test_a_stopped_process_hears_of_its_end() -> None:
    popen = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    process = Process(0, popen)
    popen.send_signal(signal.SIGSTOP)
    wait_for(lambda: state_of(popen.pid) == "T")
    process.ask_to_end()
    wait_for(process.poll)
    assert process.returncode == -signal.SIGTERM
