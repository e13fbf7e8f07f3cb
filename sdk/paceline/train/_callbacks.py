"""What `RunConfig(callbacks=[...])` takes: what follows the reports of a run, as plain values."""

from __future__ import annotations

from typing import Any, ClassVar


class Callback:
    """Something that follows the reports of a run: `paceline.tracking.WandbCallback` and its like.

    Attributes:
        kind: Its name in `spec.tracking`.
    """

    kind: ClassVar[str] = ""

    def to_spec(self) -> dict[str, Any]:
        """Its part of `spec.tracking`, and of the variable PACELINE_TRACKING."""
        raise NotImplementedError


def tracking(callbacks: tuple[Callback, ...]) -> dict[str, Any]:
    """`spec.tracking` for the callbacks of a run; empty where there is none."""
    return {callback.kind: callback.to_spec() for callback in callbacks}
