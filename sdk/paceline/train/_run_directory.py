"""What lies in a run's directory, read with few requests: files at once, then the commits, in parallel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from paceline import _contract as c
from paceline._metrics import numbers_again
from paceline.agent.commits import Commit, read_commits
from paceline.storage import StorageNotFoundError, retry
from paceline.train._location import Location

PATIENCE_S = 60.0
_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """A run's directory at one moment."""

    lines: bytes  # of result.json
    params: dict[str, Any] | None
    error: Mapping[str, Any] | None
    checkpoints: tuple[tuple[Location, Commit], ...]  # the committed ones, by number
    tracking: tuple[dict[str, str], ...] = ()  # runs at experiment trackers


def read(location: Location, patience_s: float = PATIENCE_S) -> Seen:
    """Look at a run's directory.

    Args:
        location: Where it lies.
        patience_s: How long a store that fails in a way that may pass is asked again.
    Raises:
        FileNotFoundError: No run lies there.
        ValueError: `params.json` or the error file is no JSON.
        StorageError: The store failed.
    """
    names = (
        c.RESULT_FILE, c.PARAMS_FILE, f"{c.STATE_DIR}/{c.ERROR_FILE}", f"{c.STATE_DIR}/{c.TRACKING_FILE}",
    )  # fmt: skip
    with ThreadPoolExecutor(len(names)) as pool:
        pending = [pool.submit(_content, location, name, patience_s) for name in names]
        commits = checkpoints(location, patience_s=patience_s)
        lines, params, error, tracking = [content.result() for content in pending]
    if lines is None and params is None and not commits:
        raise FileNotFoundError(no_run(location))
    return Seen(
        lines or b"",
        _parsed(params, location, names[1]),
        _parsed(error, location, names[2]),
        tuple(commits),
        _runs(tracking),
    )


def checkpoints(
    location: Location, *, damaged: dict[str, str] | None = None, patience_s: float = PATIENCE_S
) -> list[tuple[Location, Commit]]:
    """The committed checkpoints and where their files are, by number.

    Args:
        damaged: As `read_commits` takes it.
        patience_s: How long a store that fails in a way that may pass is asked again.
    Raises:
        StorageError: The store failed.
    """
    commits = retry.call(lambda: read_commits(location.storage, location.path, damaged), patience_s=patience_s)
    return [(_where(location, commit), commit) for commit in commits]


def exists(location: Location) -> bool:
    """Whether a run has written its files there."""
    names = (c.RESULT_FILE, c.PARAMS_FILE)
    return any(location.storage.size(f"{location.path}/{name}") is not None for name in names)


def no_run(location: Location) -> str:
    """What to say where no run lies, with the most likely mistake."""
    said = f"no run lies at {location.uri}: there is no {c.RESULT_FILE}, no {c.PARAMS_FILE} and no committed checkpoint"
    if location.storage.size(f"{location.path}/{c.COMMIT_FILE}") is not None:
        return f"{location.uri} is a checkpoint: its run is the directory above; Checkpoint(...) opens it itself"
    below = location.storage.directories(location.path)
    if below:
        more = f" and {len(below) - _NAMES_SHOWN} more" if len(below) > _NAMES_SHOWN else ""
        told = ", ".join(below[:_NAMES_SHOWN]) + more
        return f"{said}; a run's directory is <storage path>/<name>, and below are: {told}"
    return f"{said}; a run's directory is <storage path>/<name>"


def last_line(lines: bytes, location: Location) -> dict[str, Any] | None:
    """The last report; a line without its end, cut in the middle of a sync, does not count.

    Raises:
        ValueError: The line is no report.
    """
    end = lines.rfind(b"\n")
    if end < 0:
        return None
    begin = lines.rfind(b"\n", 0, end) + 1
    return _line(lines[begin:end], lines.count(b"\n"), location)


def all_lines(lines: bytes, location: Location) -> list[dict[str, Any]]:
    """Every report.

    Raises:
        ValueError: A line is damaged; the message has its number.
    """
    whole = lines[: lines.rfind(b"\n") + 1].split(b"\n")[:-1]
    return [_line(line, number, location) for number, line in enumerate(whole, start=1)]


def _line(line: bytes, number: int, location: Location) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{location.uri}: line {number} of {c.RESULT_FILE} is damaged: {line[:80]!r}")
    return {str(name): numbers_again(value) for name, value in found.items()}


def _where(run: Location, commit: Commit) -> Location:
    """The checkpoint's directory, or where the user's own function has put it."""
    return run.below(commit.directory) if commit.location == commit.path else Location(commit.location)


def _content(location: Location, name: str, patience_s: float) -> bytes | None:
    try:
        return retry.call(lambda: location.storage.read(f"{location.path}/{name}"), patience_s=patience_s)
    except StorageNotFoundError:
        return None


def _runs(data: bytes | None) -> tuple[dict[str, str], ...]:
    """Links to other services: a damaged file of them is no reason to refuse a result."""
    try:
        found = json.loads(data or b"[]")
    except ValueError:
        return ()
    return tuple(run for run in found if isinstance(run, dict)) if isinstance(found, list) else ()


def _parsed(data: bytes | None, location: Location, name: str) -> dict[str, Any] | None:
    if data is None:
        return None
    try:
        found = json.loads(data)
    except ValueError as e:
        raise ValueError(f"{location.uri}: {name} is damaged: {e}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{location.uri}: {name} is damaged: it is no JSON object")
    return found
