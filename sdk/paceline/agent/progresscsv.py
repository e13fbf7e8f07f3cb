"""`progress.csv`: one row for each report; a new metric becomes a new column, empty in the rows before."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from paceline._metrics import flat


class ProgressCsv:
    """Appends to one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._columns: list[str] = []
        self._known: set[str] = set()

    def open(self) -> None:
        """Go on with the file, if there is one."""
        if self._path.exists() and self._path.stat().st_size:
            with self._path.open(encoding="utf-8", newline="") as f:
                self._columns = next(csv.reader(f), [])
        self._known = set(self._columns)
        self._file = self._path.open("a", encoding="utf-8", errors="replace", newline="")

    def write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Append rows; they are with the operating system when this returns."""
        rows = [{name: _cell(value) for name, value in flat(line)} for line in lines]
        new = dict.fromkeys(key for row in rows for key in row if key not in self._known)
        if new:
            self._widen(list(new))
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerows([row.get(column, "") for column in self._columns] for row in rows)
        assert self._file is not None, "open() comes first"
        self._file.write(text.getvalue())
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _widen(self, new: list[str]) -> None:
        """Write the file again with more columns, row by row: it may be large."""
        assert self._file is not None
        self._file.close()
        self._columns += new
        self._known.update(new)
        partial = self._path.with_suffix(".partial")
        with (
            self._path.open(encoding="utf-8", newline="") as f,
            partial.open("w", encoding="utf-8", errors="replace", newline="") as out,
        ):
            writer, rows = csv.writer(out), csv.reader(f)
            next(rows, None)
            writer.writerow(self._columns)
            writer.writerows(row + [""] * (len(self._columns) - len(row)) for row in rows)
        partial.replace(self._path)
        self._file = self._path.open("a", encoding="utf-8", errors="replace", newline="")


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value
