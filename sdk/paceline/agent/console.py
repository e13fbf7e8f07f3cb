"""Reports in the container's log: a line now and then, so that `kubectl logs` shows how the training goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from paceline._metrics import flat, short

_PERIOD_S = 1.0
_METRICS = 12


class Console:
    """Shows the first report and the last, and at most one a second between them."""

    def __init__(self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._next = 0.0
        self._unsaid: tuple[int, Mapping[str, Any]] | None = None

    def show(self, step: int, metrics: Mapping[str, Any]) -> None:
        """A report came."""
        self._unsaid = step, metrics
        if self._clock() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Show the newest report, if that was not shown."""
        if self._unsaid is not None:
            self._say(line(*self._unsaid))
            self._unsaid = None
            self._next = self._clock() + _PERIOD_S


def line(step: int, metrics: Mapping[str, Any]) -> str:
    """`step 1200: loss=0.31 val/acc=0.9`."""
    shown = [f"{name}={short(value)}" for name, value in flat(metrics) if name not in ("step", "global_step")]
    more = f" and {len(shown) - _METRICS} more" if len(shown) > _METRICS else ""
    return f"step {step}: {' '.join(shown[:_METRICS]) or 'no metrics'}{more}"
