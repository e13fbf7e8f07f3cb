"""The checkpoints of a run as rows and as JSON, and which of them a word means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from rich.table import Table
from rich.text import Text

from paceline import _contract as c
from paceline._metrics import numbers_again
from paceline.agent.commits import Commit
from paceline.cli import text
from paceline.client.errors import NotFoundError, UsageError
from paceline.policy.retention import Candidate, Retention, best
from paceline.train._location import Location

LATEST, BEST = "latest", "best"
_RIGHT = frozenset({"INDEX", "STEP", "SIZE", "FILES"})


@dataclass(frozen=True, slots=True)
class Row:
    """A committed checkpoint.

    Attributes:
        marks: `latest`, `best`.
        damage: What was found wrong, a sentence each; None: nobody looked.
    """

    location: Location
    commit: Commit
    marks: tuple[str, ...] = ()
    damage: tuple[str, ...] | None = None

    @property
    def stored_elsewhere(self) -> bool:
        """By the user's own function alone: the commit knows nothing of the files."""
        return bool(self.commit.external and not self.commit.files)

    @property
    def size_bytes(self) -> int:
        """Of all its files, as the commit has it."""
        return sum(int(about.get("size", 0)) for about in self.commit.files.values())


def rows(found: Sequence[tuple[Location, Commit]], score: Retention | None) -> list[Row]:
    """The checkpoints, oldest first, with their marks."""
    if not found:
        return []
    latest = found[-1][1].index
    candidates = [Candidate(commit.index, numbers_again(dict(commit.metrics))) for _, commit in found]
    winner = best(candidates, score) if score else None
    return [Row(location, commit, tuple(_marks(commit.index, latest, winner))) for location, commit in found]


def choose(found: Sequence[Row], which: str, score: Retention | None) -> Row:
    """The checkpoint that `latest`, `best`, a number or a directory's name means.

    Raises:
        UsageError: `best`, and nothing says by what.
        NotFoundError: There is none.
    """
    if which == BEST and score is None:
        raise UsageError("best by which metric? Give --score METRIC and --order min|max, or a number")
    for row in found:
        named = row.commit.directory == which or (which.isdigit() and row.commit.index == int(which))
        if named or which in row.marks:
            return row
    if which == BEST and score is not None:
        raise NotFoundError(f"no checkpoint has a number as metric {score.score_attribute!r}")
    there = ", ".join(str(row.commit.index) for row in found) or "none"
    raise NotFoundError(f"there is no checkpoint {which!r}; committed are: {there}")


def table(shown: Sequence[Row], damaged: Mapping[str, str] = MappingProxyType({})) -> Table:
    """A row for each checkpoint; with a column for what a check has found, when there was one.

    Args:
        damaged: Directories whose commit cannot be understood, with what is wrong: the last rows.
    """
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    checked = bool(damaged) or any(row.damage is not None for row in shown)
    columns = ["INDEX", "NAME", "STEP", "TIME", "SIZE", "FILES", *(["CHECK"] if checked else []), "METRICS", ""]
    for column in columns:
        made.add_column(column, justify="right" if column in _RIGHT else "left", no_wrap=True)
    for row in shown:
        made.add_row(*_cells(row, checked=checked))
    for name in damaged:
        made.add_row(
            "", Text(name), "", "", "", "", Text("damaged", style="bold red"), Text(f"{c.COMMIT_FILE} is no commit")
        )
    return made


def told(run: Location, shown: Sequence[Row], damaged: Mapping[str, str], uncommitted: Sequence[str]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "run": run.uri,
        "checkpoints": [_told(row) for row in shown],
        "damaged": [{"name": name, "damage": [said]} for name, said in damaged.items()],
        "uncommitted": list(uncommitted),
    }


def size(size_bytes: int) -> str:
    """`12.3 MB`, in decimal units as stores bill them."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} TB"


def _marks(index: int, latest: int, winner: int | None) -> Iterator[str]:
    if index == latest:
        yield LATEST
    if index == winner:
        yield BEST


def _cells(row: Row, *, checked: bool) -> Iterator[str | Text]:
    commit = row.commit
    yield str(commit.index)
    yield Text(commit.directory)
    yield "" if commit.step is None else str(commit.step)
    yield f"{commit.time[:10]} {commit.time[11:19]}Z" if len(commit.time) >= 19 else commit.time
    yield "elsewhere" if row.stored_elsewhere else size(row.size_bytes)
    yield "" if row.stored_elsewhere else str(len(commit.files))
    if checked:
        yield _verdict(row)
    yield Text(text.metrics(commit.metrics, limit=4))
    yield Text(", ".join(row.marks), style="bold")


def _verdict(row: Row) -> Text:
    if row.damage is None:
        return Text("")
    return Text("damaged", style="bold red") if row.damage else Text("ok", style="green")


def _told(row: Row) -> dict[str, Any]:
    commit = row.commit
    found: dict[str, Any] = {
        "index": commit.index,
        "name": commit.directory,
        "path": row.location.uri,
        "step": commit.step,
        "time": commit.time,
        "attempt": commit.attempt,
        "sizeBytes": row.size_bytes,
        "files": {name: dict(about) for name, about in commit.files.items()},
        "metrics": dict(commit.metrics),
        "latest": LATEST in row.marks,
        "best": BEST in row.marks,
    }
    if commit.external:
        found["external"] = {str(rank): uri for rank, uri in commit.external.items()}
    if row.damage is not None:
        found["damage"] = list(row.damage)
    return found
