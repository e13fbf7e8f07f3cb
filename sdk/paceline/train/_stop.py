"""`should_stop`: is this the last step?"""

from __future__ import annotations

import os
import sys
from itertools import count
from time import monotonic, sleep

from paceline import _contract as c
from paceline._stop_page import ASKED, HOLD, OWNER, STOP_AT, attach

# The group decides within two beats. Beyond this the lead is gone, and with it all that could be stored together.
_PATIENCE_S = 10.0
_LOOK_S = 0.002

_page: memoryview | None = None
_looked = False
_counts = False  # this process is the one whose questions count
_questions = count(1)


def should_stop() -> bool:
    """Whether to save and leave now. Ask once in every step, on every rank, equally often: like a collective.

    True from some step on once a pod of the group got SIGTERM (a drain, a preemption, a suspension): the same step on
    every rank, whichever pod it was, so that all save the same state and none waits for one that has left. Report a
    last checkpoint, then return. What is reported is stored within the pod's grace period; the next attempt goes on
    from there.

        for step in range(start, steps):
            loss = train_step()
            stop = train.should_stop()
            if stop or step % 100 == 0:
                save(directory)
                train.report({"loss": loss, "step": step}, checkpoint=train.Checkpoint.from_directory(directory))
            if stop:
                break

    An answer costs less than a microsecond; only once, when the group is told to stop, the ranks are held for a moment
    until all know the step. A process that asks gets no SIGTERM until half of the grace period is over.

    Where only rank 0 asks, it must tell the others itself. In a child process (a data loader) the answer is true once
    the decision is made, and its questions do not count. Outside a worker: False.
    """
    page = _page
    if page is None and (page := _open()) is None:
        return False
    if not _counts:
        return page[STOP_AT] != 0
    number = next(_questions)
    page[ASKED] = number
    return bool(page[HOLD]) and number >= _decision(page, number)


def _decision(page: memoryview, number: int) -> int:
    """The question from which on the answer is yes; waits for it."""
    end = monotonic() + _PATIENCE_S
    while not (stop_at := page[STOP_AT]):
        if monotonic() > end:
            return number
        sleep(_LOOK_S)
    return int(stop_at)


def _open() -> memoryview | None:
    global _page, _looked, _counts
    path = os.environ.get(c.STOP_PAGE)
    if _looked or not path:
        return None
    _looked = True
    try:
        page = attach(path)
    except (OSError, ValueError) as e:
        print(f"[paceline] should_stop() is never true: cannot read {path}: {e}", file=sys.stderr)  # noqa: T201
        return None
    pid = os.getpid()
    if not page[OWNER]:
        page[OWNER] = pid
    _counts = page[OWNER] == pid
    _page = page
    return page


def forget() -> None:
    """This process is no longer, or not yet, the worker whose page was opened."""
    global _page, _looked, _counts, _questions
    _page, _looked, _counts, _questions = None, False, False, count(1)


def _after_fork() -> None:
    global _counts
    _counts = False


os.register_at_fork(after_in_child=_after_fork)
