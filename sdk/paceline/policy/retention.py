"""Which checkpoints may go, and which is the best?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Order = Literal["min", "max"]


@dataclass(frozen=True, slots=True)
class Retention:
    """What `spec.checkpoints` (or `CheckpointConfig`) asks for."""

    keep: int | None = None  # None: all
    score_attribute: str | None = None  # None: the newest are kept
    score_order: Order = "max"

    def __post_init__(self) -> None:
        if self.keep is not None and self.keep < 1:
            raise ValueError(f"keep is {self.keep}: keep at least 1 checkpoint, or leave it out to keep all")
        if self.score_order not in ("min", "max"):
            raise ValueError(f"score order is {self.score_order!r}: use min or max")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A committed checkpoint, as far as this decision needs it."""

    index: int
    metrics: Mapping[str, Any]


def superfluous(committed: Iterable[Candidate], rule: Retention) -> list[int]:
    """Indexes to delete, oldest first: all but the best `keep`. The latest is never among them, so that with a score
    one more than `keep` may stay."""
    ranked = sorted(committed, key=lambda c: _rank(c, rule), reverse=True)
    if rule.keep is None or len(ranked) <= rule.keep:
        return []
    latest = max(c.index for c in ranked)
    return sorted(c.index for c in ranked[rule.keep :] if c.index != latest)


def best(committed: Iterable[Candidate], rule: Retention) -> int | None:
    """Index of the best checkpoint by score; None without a score attribute or without any score."""
    if rule.score_attribute is None:
        return None
    scored = [c for c in committed if score(c.metrics, rule) is not None]
    return max(scored, key=lambda c: _rank(c, rule)).index if scored else None


def score(metrics: Mapping[str, Any], rule: Retention) -> float | None:
    """The checkpoint's score; `a/b` looks into nested metrics. None when it is missing, not a number, or NaN."""
    if rule.score_attribute is None:
        return None
    value: Any = metrics.get(rule.score_attribute)
    if value is None:
        value = metrics
        for part in rule.score_attribute.split("/"):
            value = value.get(part) if isinstance(value, Mapping) else None
    if value in ("Infinity", "-Infinity"):  # as stored in JSON
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    return float(value)


def _rank(candidate: Candidate, rule: Retention) -> tuple[bool, float, int]:
    """Sort key, the best last: scored before unscored, then the score, then the newer one."""
    value = score(candidate.metrics, rule)
    if value is None:
        return False, 0.0, candidate.index
    return True, -value if rule.score_order == "min" else value, candidate.index
