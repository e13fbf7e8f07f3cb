"""What `report()` tells goes to the trackers that `PACELINE_TRACKING` names: on rank 0, in the background.

A report costs the training one entry in a queue. Each tracker has a thread of its own, which begins the run with the
first report and logs what has come; one that fails is told once, tried again, and never ends the training. Beyond a
bound reports are lost for a tracker that takes none: `result.json` has all of them.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue

from paceline import _contract as c
from paceline import _trackers
from paceline._metrics import numbers_again, reported_step
from paceline.tracking import _finishing, _options, _place, _telling
from paceline.tracking._errors import MissingCredentialsError
from paceline.tracking._sinks import OPENERS, Commit, Entry, Report, Sink
from paceline.train import _client

_HELD = 10_000  # reports for a tracker that takes none
_AT_ONCE = 500
_AGAIN_S = 30.0
_END_S = 60.0  # for all that was reported to be logged, when the training is over
_COMMIT_S = 10.0  # for the last checkpoint to be committed, so that it is logged too
_FAILED = "Failed"


class Follower:
    """All trackers of this process."""

    def __init__(self, kinds: list[str]) -> None:
        """Start the threads; call it in the main thread, so that SIGTERM is heard of."""
        place = _place.here()
        self._steps = place.resumed_step or 0
        self._feeds = [_Feed(kind) for kind in kinds]
        self._rounds: SimpleQueue[int | None] = SimpleQueue()
        self._settler: threading.Thread | None = None
        _finishing.add("report()", self._finish)

    def report(self, line: str, round_: int | None) -> None:
        """Take one report down.

        Args:
            line: As it was sent to the agent, without its end.
            round_: Its number, where it gave a checkpoint.
        """
        for feed in self._feeds:
            feed.put(line)
        if round_ is not None:
            if self._settler is None:
                self._settler = threading.Thread(target=self._settle, name="paceline-tracking-commits", daemon=True)
                self._settler.start()
            self._rounds.put(round_)

    def _settle(self) -> None:
        """Checkpoints are logged by the URI at which they were committed."""
        while (round_ := self._rounds.get()) is not None:
            client = _client.client()
            if client is None:
                return
            try:
                told = client.request({"t": "settled", "round": round_}).get("commit")
            except RuntimeError:  # the pod is ending
                return
            if told:
                for feed in self._feeds:
                    feed.put(Commit(str(told["path"]), told.get("step")))

    def _finish(self, ending: _finishing.Ending) -> None:
        end = time.monotonic() + _END_S
        if self._settler is not None:
            self._rounds.put(None)
            if ending == "succeeded":
                self._settler.join(_COMMIT_S)
        for feed in self._feeds:
            feed.end(ending)
        for feed in self._feeds:
            feed.join(max(0.0, end - time.monotonic()))


class _Feed:
    """One tracker's queue and thread."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._queue: SimpleQueue[str | Commit | None] = SimpleQueue()
        self._backlog: deque[Entry] = deque(maxlen=_HELD)
        self._lost = 0
        self._count = _place.here().resumed_step or 0
        self._ending: _finishing.Ending | None = None
        self._sink: Sink | None = None
        self._runs: list[_finishing.Open] = []
        self._given_up = False
        self._warned = False
        self._again_at = 0.0
        self._thread = threading.Thread(target=self._run, name=f"paceline-tracking-{kind}", daemon=True)
        self._thread.start()

    def put(self, entry: str | Commit) -> None:
        """Take it down; the thread does the rest."""
        if self._queue.qsize() < _HELD:
            self._queue.put(entry)
        else:  # the library hangs
            self._lost += 1

    def end(self, ending: _finishing.Ending) -> None:
        """Log what is left, and finish."""
        self._ending = ending
        self._queue.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait for the end of `end`."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            _options.say(
                f"warning: {_trackers.NAMES[self._kind]} did not take everything within {_END_S:g} s of the end of the"
                " training; result.json of the run has all reports"
            )

    def _run(self) -> None:
        while True:
            ended = self._take()
            if self._backlog and not self._given_up and (ended or time.monotonic() >= self._again_at):
                self._log()
            if ended:
                break
        if self._lost:
            _options.say(f"warning: {_trackers.NAMES[self._kind]} took none of {self._lost} reports in time")
        for run in reversed(self._runs):
            self._finish(run)

    def _finish(self, run: _finishing.Open) -> None:
        try:
            run.finish(self._ending or "succeeded")
        except Exception as e:
            self._warn(e)

    def _take(self) -> bool:
        """Wait for something, and take what is there. True: nothing more will come."""
        timeout_s = _AGAIN_S if self._backlog else None
        try:
            entry = self._queue.get(timeout=timeout_s)
            while True:
                if entry is None:
                    return True
                if len(self._backlog) == _HELD:
                    self._lost += 1
                self._backlog.append(entry if isinstance(entry, Commit) else self._report(entry))
                if len(self._backlog) >= _AT_ONCE and self._sink is not None:
                    return False
                entry = self._queue.get_nowait()
        except Empty:
            return False

    def _report(self, line: str) -> Report:
        told = json.loads(line + "}")
        self._count += 1
        # As the agent counts: the reported step, else the number of reports over the whole run.
        given = reported_step(told["m"])
        return Report(numbers_again(told["m"]), self._count if given is None else given, float(told["w"]))

    def _log(self) -> None:
        try:
            if self._sink is None:
                with _finishing.kept_apart() as runs:
                    self._runs = runs
                    self._sink = OPENERS[self._kind]()
            while self._backlog:
                batch = [self._backlog[i] for i in range(min(_AT_ONCE, len(self._backlog)))]
                self._sink.log(batch)
                for _ in batch:
                    self._backlog.popleft()
        except Exception as e:
            self._warn(e)
            # Neither a key nor a package comes while the process runs.
            self._given_up = isinstance(e, MissingCredentialsError | ImportError)
            self._again_at = time.monotonic() + _AGAIN_S
            if self._given_up:
                self._backlog.clear()

    def _warn(self, error: Exception) -> None:
        if self._warned:
            return
        self._warned = True
        text = str(error) if isinstance(error, MissingCredentialsError | ImportError) else _described(error)
        reason = c.REASON_CREDENTIALS if isinstance(error, MissingCredentialsError) else _FAILED
        _options.say(f"warning: reports are not logged to {_trackers.NAMES[self._kind]}: {text}. Training goes on")
        _telling.problem(self._kind, reason, text)


def begin() -> Follower | None:
    """Follow this process's reports; None where there is nothing to do."""
    try:
        kinds = _options.kinds(_options.read())
    except ValueError as e:
        _options.say(f"warning: no tracker is used: {e}")
        return None
    return Follower(kinds) if kinds and os.environ.get(c.RANK, "0") == "0" else None


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"
