"""Asking a process to end that has just ended by itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

from paceline.agent.process import Process
from tests.support.agents import wait_for


def test_a_process_that_has_ended_and_is_not_reaped_yet_may_be_asked() -> None:
    """Several ranks that fail at once: of such a process /proc has no program any more."""
    popen = subprocess.Popen(["true"], start_new_session=True)
    wait_for(lambda: ") Z " in Path(f"/proc/{popen.pid}/stat").read_text())
    process = Process(0, popen)
    process.ask_to_end()
    assert process.poll()
    assert process.returncode == 0
