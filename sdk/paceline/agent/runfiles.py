"""`result.json`, `progress.csv`, `params.json` and TensorBoard's events of a run, written here and synced by the lead.

A restart fetches the earlier files and goes on: every line stays, and tells by `attempt` which attempt made it (lines
after the checkpoint that was resumed from appear twice, once for each attempt). Of the events each attempt has a file
of its own, as TensorBoard expects it.

Reports come in bursts, faster than lines can be formatted. They are taken down at once and written by `flush`, some at
a time, so that a process that reports in a tight loop is not held.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from paceline import _contract as c
from paceline._metrics import json_safe
from paceline.agent import log, tfevents
from paceline.agent.clock import rfc3339_ms
from paceline.agent.progresscsv import ProgressCsv
from paceline.agent.reports import Report
from paceline.storage import Storage, StorageNotFoundError, transfer

_AT_ONCE = 200  # takes some ms; meanwhile what processes send waits in the kernel
_BACKLOG = 20_000  # beyond it some are written with each report, which slows the processes: memory is bounded


class RunFiles:
    """The local copies in `directory`. Not thread-safe, but for `sync`, which only reads files."""

    def __init__(self, directory: Path, attempt: int) -> None:
        self._directory = directory
        self._attempt = attempt
        self._backlog: deque[Report] = deque()
        self._result: BinaryIO | None = None
        self._events: BinaryIO | None = None
        self._progress = ProgressCsv(directory / c.PROGRESS_FILE)
        self._events_name = ""
        self._warned = False
        self.changed = False  # since the last sync

    def fetch(self, storage: Storage, run: str) -> None:
        """Bring the files of earlier attempts here; blocks. Missing ones start empty."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for name in (c.RESULT_FILE, c.PROGRESS_FILE):
            try:
                transfer.get_file(storage, f"{run}/{name}", self._directory / name)
            except StorageNotFoundError:  # noqa: PERF203
                continue

    def open(self, *, now: float | None = None) -> None:
        """Open for appending, after `fetch`.

        Args:
            now: Seconds since the epoch, for the name of the event file.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        began = time.time() if now is None else now
        for name in (c.RESULT_FILE, c.PROGRESS_FILE):
            _drop_partial_line(self._directory / name)
        self._result = (self._directory / c.RESULT_FILE).open("ab", buffering=0)
        self._progress.open()
        self._events_name = tfevents.file_name(began, socket.gethostname())
        self._events = (self._directory / self._events_name).open("ab", buffering=0)
        self._events.write(tfevents.header(began))

    def params(self, told: Mapping[str, Any]) -> None:
        """Write `params.json`."""
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / c.PARAMS_FILE).write_text(json.dumps(json_safe(told), indent=1) + "\n", encoding="utf-8")
        self.changed = True

    def tracking(self, runs: Sequence[Mapping[str, str]]) -> None:
        """Write `.paceline/tracking.json`; an attempt that has no run at a tracker leaves that of an earlier one."""
        if not runs:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / c.TRACKING_FILE).write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
        self.changed = True

    def report(self, report: Report) -> None:
        """Take one report down; `flush` writes it."""
        self._backlog.append(report)
        self.changed = True
        if len(self._backlog) > _BACKLOG:
            self.write_some()

    def flush(self) -> None:
        """Write all that was taken down."""
        while self.write_some():
            pass

    def write_some(self) -> bool:
        """Write the oldest of what was taken down. False when nothing is left, or the disk takes nothing now."""
        lines = list(itertools.islice(self._backlog, _AT_ONCE))
        if not lines:
            return False
        try:
            self._write(lines)
        except OSError as e:
            # Nothing is lost yet: it is tried again, and the processes are held before memory runs out.
            self._warn(f"the run's files cannot be written in {self._directory}: {e.strerror or e}")
            return False
        for _ in lines:
            self._backlog.popleft()
        return bool(self._backlog)

    def sync(self, storage: Storage, run: str) -> None:
        """Upload the files as they are on disk; blocks. Call `flush` before."""
        for name in (c.RESULT_FILE, c.PROGRESS_FILE, c.PARAMS_FILE, c.TRACKING_FILE, self._events_name):
            path = self._directory / name
            if not name or not path.exists():
                continue
            # They grow meanwhile: what is sent is a copy, which ends where a line ends.
            copy = self._directory / f".{name}.sync"
            try:
                place = f"{run}/{c.STATE_DIR}" if name == c.TRACKING_FILE else run
                transfer.put_file(storage, shutil.copyfile(path, copy), f"{place}/{name}")
            finally:
                copy.unlink(missing_ok=True)

    @property
    def size_bytes(self) -> int:
        """Bytes that one sync moves."""
        names = (c.RESULT_FILE, c.PROGRESS_FILE, self._events_name)
        paths = (self._directory / name for name in names if name)
        return sum(path.stat().st_size for path in paths if path.exists())

    def close(self) -> None:
        """Write the rest and close the files."""
        if self._result is not None:
            self.flush()
        for f in (self._result, self._events):
            if f is not None:
                f.close()
        self._progress.close()
        self._result = self._events = None

    def _write(self, reports: list[Report]) -> None:
        assert self._result is not None, "open() comes first"
        lines = [line_of(report, self._attempt) for report in reports]
        # Whole lines in one write: a copy of the file never ends in the middle of one.
        _append(self._result, "".join(_dump(line) + "\n" for line in lines).encode())
        try:
            self._progress.write(lines)
            if self._events is not None:
                events = (tfevents.event(r.time, r.step, tfevents.scalars(r.metrics)) for r in reports)
                _append(self._events, b"".join(events))
        except OSError as e:
            # result.json has them; the others are made of the same lines.
            self._warn(f"{c.PROGRESS_FILE} or the events lack lines: {e.strerror or e}")

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            log.say(f"warning: {text}")


def line_of(report: Report, attempt: int) -> dict[str, Any]:
    """A metric keeps its name; an own key that it hides is written with `_` in front."""
    metrics = report.metrics
    own = {
        "step": report.step,
        "time": rfc3339_ms(report.time),
        "attempt": attempt,
        "iteration": report.iteration,
    }
    line = {**metrics, **{f"_{key}" if key in metrics else key: value for key, value in own.items()}}
    if metrics.get("step") == report.step:
        del line["_step"]
    return line


def _dump(line: Mapping[str, Any]) -> str:
    try:
        return json.dumps(line, allow_nan=False)
    except ValueError:  # from a client that is not ours: NaN has no JSON
        return json.dumps(json_safe(line), allow_nan=False)


def _append(f: BinaryIO, data: bytes) -> None:
    """All of it, or nothing."""
    begun = f.seek(0, os.SEEK_END)
    view = memoryview(data)
    try:
        while view:
            view = view[f.write(view) :]
    except OSError:
        f.truncate(begun)
        raise


def _drop_partial_line(path: Path) -> None:
    """A line without its end was cut by a crash during a sync."""
    if not path.exists():
        return
    with path.open("rb+") as f:
        end = f.seek(0, os.SEEK_END)
        position = end
        while position:
            start = max(0, position - 65536)
            f.seek(start)
            newline = f.read(position - start).rfind(b"\n")
            if newline >= 0:
                f.truncate(start + newline + 1)
                return
            position = start
        f.truncate(0)
