"""Who am I? Ranks and names of this process, from the environment that the agent set."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from paceline import _contract as c

if TYPE_CHECKING:
    from paceline.data import DataShard


class StorageInfo:
    """Where this run is stored.

    Attributes:
        path: The storage path of the run, or None where nothing is stored.
        experiment_name: The run's directory below it.
    """

    __slots__ = ("experiment_name", "path")

    def __init__(self, path: str | None, experiment_name: str) -> None:
        self.path = path
        self.experiment_name = experiment_name

    @property
    def run_path(self) -> str | None:
        """The run's directory: `path` with `experiment_name` added; None where nothing is stored."""
        if self.path is None:
            return None
        from paceline.storage import join

        return join(self.path, self.experiment_name)

    @property
    def filesystem(self) -> Any:
        """The store as a `pyarrow.fs.FileSystem`, or None where nothing is stored.

        Raises:
            ImportError: pyarrow is not installed (`paceline[arrow]`).
        """
        if self.run_path is None:
            return None
        from paceline.train._checkpoint import of_run

        return of_run(self.run_path).filesystem

    def __repr__(self) -> str:
        return f"StorageInfo(path={self.path!r}, experiment_name={self.experiment_name!r})"


class TrainContext:
    """This process's place in the run. Outside a worker: rank 0 of 1."""

    def get_world_size(self) -> int:
        """Number of processes in the run (outside: 1)."""
        return _integer(c.WORLD_SIZE, 1)

    def get_world_rank(self) -> int:
        """Number of this process among all (outside: 0)."""
        return _integer(c.RANK, 0)

    def get_local_rank(self) -> int:
        """Number of this process in its pod (outside: 0)."""
        return _integer(c.LOCAL_RANK, 0)

    def get_local_world_size(self) -> int:
        """Number of processes in this pod (outside: 1)."""
        return _integer(c.LOCAL_WORLD_SIZE, 1)

    def get_node_rank(self) -> int:
        """Number of this pod (outside: 0)."""
        return _integer(c.NODE_RANK, 0)

    def get_experiment_name(self) -> str:
        """Name of the run's directory (outside: `local`)."""
        return os.environ.get(c.EXPERIMENT_NAME) or self.get_trial_name()

    def get_trial_id(self) -> str:
        """The run's id, the same in every attempt, so that an experiment tracker goes on (outside: `local`)."""
        return os.environ.get(c.RUN_ID) or "local"

    def get_trial_name(self) -> str:
        """Name of the TrainJob (outside: `local`)."""
        return os.environ.get(c.JOB) or "local"

    def get_trial_dir(self) -> str:
        """Directory of the run in storage, a path or a URI (without storage, and outside: the working directory)."""
        return self.get_storage().run_path or os.getcwd()  # noqa: PTH109 - pathlib is not loaded here

    def get_storage(self) -> StorageInfo:
        """Where the run is stored (outside: `path` is None)."""
        return StorageInfo(os.environ.get(c.STORAGE_PATH) or None, self.get_experiment_name())

    def get_dataset_shard(self, name: str = "train") -> DataShard:
        """As `paceline.train.get_dataset_shard`."""
        from paceline.train._shards import get_dataset_shard

        return get_dataset_shard(name)

    def __repr__(self) -> str:
        return f"TrainContext(rank {self.get_world_rank()} of {self.get_world_size()})"


_CONTEXT = TrainContext()


def get_context() -> TrainContext:
    """The context of this process."""
    return _CONTEXT


def _integer(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else default
