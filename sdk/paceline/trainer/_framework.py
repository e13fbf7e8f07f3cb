"""What a framework adds to a run: a few variables, and a session around the training function."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, Literal


class Framework:
    """No framework: the function runs as it is.

    An object of a subclass is pickled with the training function and travels to every worker, so it holds plain values.
    """

    name: ClassVar[Literal["torch", "tensorflow", "none"]] = "none"
    """`spec.framework` of the TrainJob."""

    def ports(self, world_size: int) -> int:
        """How many free TCP ports an attempt on this machine needs."""
        return 0

    def environment(self, ports: Sequence[int], world_size: int) -> dict[str, str]:
        """Variables for the processes of an attempt on this machine; on a cluster the operator sets them.

        Args:
            ports: As many free ports as `ports` asked for.
            world_size: Number of processes.
        """
        return {}

    def variables(self) -> dict[str, str]:
        """Variables that the workers of a cluster have from their start, where the run's own do not say otherwise."""
        return {}

    def session(self) -> AbstractContextManager[None]:
        """Entered by each worker, its rank variables set, around the training function."""
        return nullcontext()
