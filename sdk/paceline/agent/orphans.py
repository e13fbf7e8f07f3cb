"""As process 1 of its container, the agent takes the exit status of processes that others left behind."""

from __future__ import annotations

import os
import sys


def reap(own: set[int]) -> None:
    """Take the exit status of whatever was left to us.

    Args:
        own: Processes of ours, which are reaped by their own `poll`.
    """
    if os.getpid() != 1 or sys.platform != "linux":
        return
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in own:
            # Orphans behind one of our own have their turn at the next signal.
            return
        os.waitpid(found.si_pid, os.WNOHANG)
