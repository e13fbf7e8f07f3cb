"""Conditions in the standard shape: a transition time that moves only when the status does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from paceline.api import Condition


class Conditions:
    """A list of conditions to be changed; `values()` gives the new list."""

    def __init__(self, old: Sequence[Condition], now: datetime, generation: int) -> None:
        self._conditions = {condition.type: condition for condition in old}
        self._now = now
        self._generation = generation

    def set(self, type: str, value: bool | Literal["Unknown"], reason: str, message: str = "") -> None:
        """Set a condition; its transition time stays where its status does not change."""
        status: Literal["True", "False", "Unknown"] = "Unknown" if value == "Unknown" else "True" if value else "False"
        old = self._conditions.get(type)
        self._conditions[type] = Condition(
            type=type,
            status=status,
            observed_generation=self._generation,
            last_transition_time=old.last_transition_time if old and old.status == status else self._now,
            reason=reason,
            message=message,
        )

    def clear(self, type: str, reason: str, message: str = "") -> None:
        """Set a condition to False where it is there at all."""
        if type in self._conditions:
            self.set(type, False, reason, message)

    def drop(self, type: str) -> None:
        """Remove a condition that says nothing any more."""
        self._conditions.pop(type, None)

    def values(self) -> list[Condition]:
        """Return the conditions, in the order in which they came up."""
        return list(self._conditions.values())
