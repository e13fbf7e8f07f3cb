"""What every framework module gets: the shape of one attempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from paceline_operator import contract


@dataclass(frozen=True, slots=True)
class Group:
    """The workers of one attempt."""

    job: str
    attempt: int
    pods: int
    per_pod: int

    @property
    def world_size(self) -> int:
        """Number of workers."""
        return self.pods * self.per_pod

    def address(self, index: int) -> str:
        """DNS name of a pod."""
        return contract.pod_address(self.job, self.attempt, index)


Framework: TypeAlias = Callable[[Group, int], dict[str, str]]
"""Environment of a pod (by index), in the values of its first process."""
