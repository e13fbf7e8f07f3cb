"""A worker does not outlive its agent, however that ended."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time

from paceline import _contract as c

_PR_SET_PDEATHSIG = 1
_LOOK_S = 1.0


def end_with_parent() -> None:
    """From now on the death of the agent ends this process.

    In a pod the container ends with its first process anyway; on this machine nothing else would end a worker whose
    agent got SIGKILL.
    """
    parent = os.getppid()
    if not _asked_kernel():
        threading.Thread(target=_watch, args=(parent,), name="paceline-parent", daemon=True).start()
    if _agent_is_gone():
        os._exit(c.EXIT_TERMINATED)


def _asked_kernel() -> bool:
    """SIGKILL when the parent dies; Linux alone can do that."""
    if sys.platform != "linux":
        return False
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _agent_is_gone() -> bool:
    """Whether it died before the kernel was asked."""
    path = os.environ.get(c.AGENT_SOCKET)
    if not path:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(path)
        except OSError:
            return True
    return False
