"""Where a run takes place: what a trainer asks of it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from paceline.trainer._plan import Plan


@runtime_checkable
class Backend(Protocol):
    """Runs plans. `Trainer(backend=None)` uses this machine."""

    def run(self, plan: Plan, *, detach: bool) -> Any:
        """Run it, to its end.

        Args:
            plan: What to run.
            detach: Return a handle as soon as the run is started, and follow nothing.
        Returns:
            The `Result`, or the handle.
        Raises:
            TrainingFailedError: The run failed.
            ValueError: The plan cannot be run there: told before anything is started.
        """
        ...

    def to_manifest(self, plan: Plan) -> str:
        """What `run` would apply, as YAML.

        Raises:
            ValueError: There is no such thing, or the plan cannot be run there.
        """
        ...
