"""What a plot shows, as values: compared by tests, and written into the file that is drawn from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Role: TypeAlias = Literal["ours", "other", "second"]
DIGITS = 4


@dataclass(frozen=True, slots=True)
class Series:
    """One bar in each row, or one line."""

    name: str
    role: Role
    """Decides the colour: ours, what it is compared with, or a second figure of ours."""
    values: tuple[float | None, ...]
    """None: not measured, or there is nothing."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars on one axis."""

    title: str
    axis: str
    """What is measured, with its unit."""
    rows: tuple[str, ...]
    series: tuple[Series, ...]
    notes: tuple[str, ...] = ()
    """Behind the last bar of each row, such as a ratio."""
    log: bool = False
    aim: float | None = None
    """A line that should not be passed."""
    ours: tuple[bool, ...] = ()
    """With one series: which rows are ours."""


@dataclass(frozen=True, slots=True)
class Bars:
    """A plot of panels, one below the other or two in a row."""

    name: str
    """Of the file, without suffix."""
    alt: str
    """What a reader who does not see it is told."""
    panels: tuple[Panel, ...]
    columns: int = 1


@dataclass(frozen=True, slots=True)
class Lines:
    """A plot over time."""

    name: str
    alt: str
    title: str
    x_axis: str
    y_axis: str
    x: tuple[float, ...]
    series: tuple[Series, ...]


Chart: TypeAlias = Bars | Lines


def fingerprint(chart: Chart) -> str:
    """Return all that a chart shows as JSON. Equal for equal figures, whatever machine draws them."""
    return json.dumps(_rounded(asdict(chart)), sort_keys=True, separators=(",", ":"))


def values(found: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return the values of a series, to so many digits that nobody sees a difference."""
    return tuple(None if value is None else float(f"{value:.{DIGITS}g}") for value in found)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
