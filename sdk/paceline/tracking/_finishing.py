"""Every run that was begun here is finished once: at the end of the function or the process, or by SIGTERM.

A process that is told to end (SIGTERM, where the user has no handler of his own) first finishes its runs, within a part
of the grace period. A main thread in native code, such as a collective that waits for a dead peer, runs no handler of
Python: a thread that the signal wakes too does it then.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NoReturn

from paceline import _contract as c
from paceline.tracking._options import say

Ending = Literal["succeeded", "failed", "stopped"]

_SHARE = 0.4  # of the grace period; the processes have 60 % of it
_MOST_S = 20.0
_MAIN_S = 1.0  # for the main thread to come to Python's handler


@dataclass(eq=False)
class Open:
    """A run that was begun.

    Attributes:
        kind: Of the tracker.
        finish: Ends it; called once.
    """

    kind: str
    finish: Callable[[Ending], None]


_open: list[Open] = []
_apart = threading.local()
_lock = threading.RLock()
_busy = 0  # threads that finish runs
_taken = threading.Event()  # Python's handler has begun
_wired = False
_left_with: object = None  # what the main thread gave to `sys.exit` last


def add(kind: str, finish: Callable[[Ending], None]) -> Open:
    """Have a run finished when its time comes.

    Args:
        kind: Of the tracker.
        finish: Ends it; what it raises is told as a warning.
    """
    found = Open(kind, finish)
    if (kept := getattr(_apart, "runs", None)) is not None:
        kept.append(found)
        return found
    with _lock:
        _open.append(found)
    # For each run anew: what is registered last runs first, and so before what the library itself has registered.
    atexit.register(_at_exit, found)
    _wire()
    return found


@contextmanager
def kept_apart() -> Iterator[list[Open]]:
    """What this thread adds meanwhile comes back, for the caller to finish."""
    runs: list[Open] = []
    _apart.runs = runs
    try:
        yield runs
    finally:
        del _apart.runs


def all_of(ending: Ending) -> None:
    """Finish every run that is open, the last one first. Runs are forgotten whatever happens."""
    for found in reversed(list(_open)):
        _finish(found, ending)


def _finish(found: Open, ending: Ending) -> None:
    global _busy
    with _lock:
        if found not in _open:
            return
        _open.remove(found)
        _busy += 1
    try:
        found.finish(ending)
    except Exception as e:
        say(f"warning: the run of {found.kind} could not be finished: {type(e).__name__}: {e}")
    finally:
        _busy -= 1


def _at_exit(found: Open) -> None:
    # Python keeps the exception that ends the process; in a session at a prompt, any that was ever shown.
    failed = getattr(sys, "last_value", None) is not None and not hasattr(sys, "ps1")
    _finish(found, "failed" if failed or _left_with not in (None, 0) else "succeeded")


@functools.cache  # once
def _hear_exits() -> None:
    """Python keeps no SystemExit, and tells its code to nobody: what is given to `sys.exit` is all that there is."""
    leave = sys.exit

    def told(status: object = None, /) -> NoReturn:
        global _left_with
        if threading.current_thread() is threading.main_thread():
            _left_with = status
        leave(status)  # type: ignore[arg-type]

    sys.exit = told


def _wire() -> None:
    global _wired
    _hear_exits()
    if threading.current_thread() is not threading.main_thread():
        return
    # Who has a handler decides when the process ends; it ends by itself then, and `_at_exit` finishes.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)
    if _wired or signal.getsignal(signal.SIGTERM) is not _on_sigterm:
        return
    _wired = True
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    if before != -1:  # an event loop's
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)
        return
    threading.Thread(target=_watch, args=(read,), name="paceline-tracking-end", daemon=True).start()


def _on_sigterm(number: int, frame: object) -> None:
    _taken.set()
    if _busy:
        return  # the process ends as soon as what it interrupts is done
    _stop()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)  # it comes before the next line of the user's


def _watch(pipe: int) -> None:
    while data := os.read(pipe, 64):
        if signal.SIGTERM not in data or signal.getsignal(signal.SIGTERM) is not _on_sigterm:
            continue
        if not _taken.wait(_MAIN_S):
            _stop()
            os._exit(c.EXIT_TERMINATED)


def _stop() -> None:
    """Finish all, in a thread: a library may hold a lock in the frame that the signal has interrupted."""
    grace_s = float(os.environ.get(c.GRACE_SECONDS) or 30)
    work = threading.Thread(target=all_of, args=("stopped",), daemon=True)
    work.start()
    work.join(min(_MOST_S, grace_s * _SHARE))


def _after_fork() -> None:
    """A child (a data loader's worker) has no run: it ends as if there were none."""
    global _lock, _busy, _wired, _taken
    _open.clear()
    _lock, _busy, _wired, _taken = threading.RLock(), 0, False, threading.Event()
    if signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_after_fork)
