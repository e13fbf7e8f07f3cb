"""Small values as people read them: ages, durations, metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from paceline.api import CheckpointStatus, WorkerCounts

# A metric that tells how good the model is stands before what only tells where training is.
BOOKKEEPING = frozenset({"epoch", "step", "global_step"})
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def workers(counts: WorkerCounts, desired: int) -> str:
    """Return running or well ended workers out of those asked for; before the operator's first look, 0 of them."""
    return counts.ready if counts.desired else f"0/{desired}"


def age(since: datetime | None, now: datetime) -> str:
    """Return the time since a moment in at most two units, as kubectl does."""
    return "" if since is None else duration(now - since)


def duration(length: timedelta) -> str:
    """Return a length of time: `45s`, `3m20s`, `5h12m`, `3d4h`."""
    seconds = max(0, int(length.total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    for unit, below, limit in (("m", "s", 3600 * 2), ("h", "m", 86_400 * 2)):
        if seconds < limit:
            large, rest = divmod(seconds, _UNITS[unit])
            small = rest // _UNITS[below]
            return f"{large}{unit}{small}{below}" if small else f"{large}{unit}"
    days, rest = divmod(seconds, 86_400)
    return f"{days}d{rest // 3600}h" if rest >= 3600 and days < 10 else f"{days}d"


def parse_duration(value: str) -> float:
    """Return seconds of `90`, `90s`, `15m`, `1h30m`.

    Raises:
        ValueError: It is none of these.
    """
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    if not re.fullmatch(r"(\d+[smhd])+", value):
        raise ValueError(f"{value!r} is no length of time: write seconds, or 90s, 15m, 1h30m")
    return float(sum(int(amount) * _UNITS[unit] for amount, unit in re.findall(r"(\d+)([smhd])", value)))


def metrics(values: Mapping[str, Any], limit: int | None = None) -> str:
    """Return metrics as `loss=0.31 accuracy=0.97`, without those that only tell where training is."""
    told = [f"{name}={number(value)}" for name, value in values.items() if name not in BOOKKEEPING]
    if limit is not None and len(told) > limit:
        told = [*told[:limit], f"(+{len(told) - limit})"]
    return " ".join(told)


def number(value: Any) -> str:
    """Return a metric's value, floats in four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def checkpoint(seen: CheckpointStatus | None) -> str:
    """Return `12 (step 1100)`."""
    if seen is None:
        return ""
    return str(seen.index) if seen.step is None else f"{seen.index} (step {seen.step})"
