"""`result.json`, `progress.csv` and `params.json` of a run, written locally and synced to storage by the lead.

A restart fetches the earlier files and goes on: every line stays, and tells by `attempt` which attempt made it (lines
after the checkpoint that was resumed from appear twice, once for each attempt).
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from paceline import _contract as c
from paceline._metrics import json_safe
from paceline.agent.clock import rfc3339_ms
from paceline.storage import Storage, StorageNotFoundError

_OWN_KEYS = ("step", "time", "attempt", "iteration")


class RunFiles:
    """The local copies in `directory`. Not thread-safe, but for `sync`, which only reads files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._result: TextIO | None = None
        self._progress: TextIO | None = None
        self._columns: list[str] = []
        self.changed = False  # since the last sync

    def fetch(self, storage: Storage, run: str) -> None:
        """Bring the files of earlier attempts here; blocks. Missing ones start empty."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for name in (c.RESULT_FILE, c.PROGRESS_FILE):
            try:
                storage.get_file(f"{run}/{name}", str(self._directory / name))
            except StorageNotFoundError:  # noqa: PERF203
                continue

    def open(self) -> None:
        """Open for appending, after `fetch`."""
        self._directory.mkdir(parents=True, exist_ok=True)
        _drop_partial_line(self._directory / c.RESULT_FILE)
        _drop_partial_line(self._directory / c.PROGRESS_FILE)
        self._result = (self._directory / c.RESULT_FILE).open("a", encoding="utf-8")
        path = self._directory / c.PROGRESS_FILE
        if path.exists() and path.stat().st_size:
            with path.open(encoding="utf-8", newline="") as f:
                self._columns = next(csv.reader(f), [])
        self._progress = path.open("a", encoding="utf-8", newline="")

    def params(self, told: Mapping[str, Any]) -> None:
        """Write `params.json`."""
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / c.PARAMS_FILE).write_text(json.dumps(json_safe(told), indent=1) + "\n", encoding="utf-8")
        self.changed = True

    def report(self, metrics: Mapping[str, Any], *, step: int, time: float, attempt: int, iteration: int) -> None:
        """Append one report. A metric keeps its name; an own key that it hides is written with `_` in front."""
        own = {"step": step, "time": rfc3339_ms(time), "attempt": attempt, "iteration": iteration}
        line = {**metrics, **{f"_{key}" if key in metrics else key: own[key] for key in _OWN_KEYS}}
        if metrics.get("step") == step:
            del line["_step"]
        assert self._result is not None, "open() comes first"
        self._result.write(json.dumps(line, allow_nan=False) + "\n")
        self._row(dict(_flat(line)))
        self.changed = True

    def flush(self) -> None:
        """Hand buffered lines to the operating system."""
        for f in (self._result, self._progress):
            if f is not None:
                f.flush()

    def sync(self, storage: Storage, run: str) -> None:
        """Upload the files as they are on disk; blocks. Call `flush` before."""
        for name in (c.RESULT_FILE, c.PROGRESS_FILE, c.PARAMS_FILE):
            path = self._directory / name
            if path.exists():
                storage.put_file(str(path), f"{run}/{name}")

    @property
    def size_bytes(self) -> int:
        """Bytes that one sync moves."""
        paths = (self._directory / name for name in (c.RESULT_FILE, c.PROGRESS_FILE))
        return sum(path.stat().st_size for path in paths if path.exists())

    def close(self) -> None:
        """Close the files."""
        for f in (self._result, self._progress):
            if f is not None:
                f.close()
        self._result = self._progress = None

    def _row(self, row: Mapping[str, Any]) -> None:
        assert self._progress is not None
        new = [key for key in row if key not in self._columns]
        if new:
            self._widen(new)
        csv.writer(self._progress).writerow([row.get(column, "") for column in self._columns])

    def _widen(self, new: list[str]) -> None:
        """Write the file again with more columns."""
        path = self._directory / c.PROGRESS_FILE
        assert self._progress is not None
        self._progress.close()
        with path.open(encoding="utf-8", newline="") as f:
            rows = list(csv.reader(f))[1:]
        self._columns += new
        partial = path.with_suffix(".partial")
        with partial.open("w", encoding="utf-8", newline="") as f:
            writer = csv.writer(f)
            writer.writerow(self._columns)
            writer.writerows(row + [""] * (len(self._columns) - len(row)) for row in rows)
        partial.replace(path)
        self._progress = path.open("a", encoding="utf-8", newline="")


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield prefix + key, json.dumps(value) if isinstance(value, list) else value


def _drop_partial_line(path: Path) -> None:
    """A line without its end was cut by a crash during a sync."""
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)
