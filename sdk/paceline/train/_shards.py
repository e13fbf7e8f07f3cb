"""The datasets of this worker: provided by the trainer before the training function, opened when it asks."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from paceline import _contract as c
from paceline.data import DataConfig, open_sources
from paceline.train._context import get_context

if TYPE_CHECKING:
    from paceline.data import DataShard, Source

__all__ = ["DataConfig", "get_dataset_shard", "provide", "use_datasets"]

_lock = threading.Lock()
_sources: Mapping[str, Source] = {}
_opened: dict[str, DataShard] = {}


def provide(sources: Mapping[str, Source]) -> None:
    """Make these the datasets of this process. The worker of a trainer calls it before the training function.

    Args:
        sources: By name, as `paceline.data.open_sources` gave them. Empty: there are none.
    """
    global _sources
    with _lock:
        _sources = dict(sources)
        _opened.clear()


def use_datasets(datasets: Mapping[str, Any], dataset_config: DataConfig | None = None) -> None:
    """Give this process its datasets, where no trainer does: in the script of a TrainJob, under torchrun, on its own.

    Call it on every rank, before `get_dataset_shard`, with the same arguments.

    Args:
        datasets: As a trainer takes them: name -> path or URI, a list of them, a `pyarrow.dataset.Dataset`, ...
        dataset_config: None: all are split, formats by suffix.
    Raises:
        TypeError, ValueError, FileNotFoundError, ImportError: As `paceline.data.open_sources`.
    """
    provide(open_sources(datasets, dataset_config))


def get_dataset_shard(name: str = "train") -> DataShard:
    """This rank's part of a dataset that the trainer was given; the whole, where it is not split.

    The first call for a name lists the files and reads how many rows they have; later calls return the same object.

    Args:
        name: As in `datasets={name: ...}`.
    Raises:
        KeyError: No dataset has this name; the message has those that there are.
        FileNotFoundError: No file is there.
        ImportError: pyarrow is not installed.
        ValueError: The files cannot be read, or there are fewer rows than ranks.
        paceline.storage.StorageError: The store refused.
    """
    with _lock:
        if name not in _sources:
            raise _UnknownDatasetError(_sentence(name))
        if name not in _opened:
            context = get_context()
            run = os.environ.get(c.RUN_ID)
            _opened[name] = _sources[name].open(
                context.get_world_rank(),
                context.get_world_size(),
                shared_as=f"{run} {os.environ.get(c.ATTEMPT, '')}" if run else None,
            )
        return _opened[name]


class _UnknownDatasetError(KeyError):
    """A KeyError shows the repr of its argument; this one is read by people."""

    def __str__(self) -> str:
        return str(self.args[0])


def _sentence(name: str) -> str:
    if _sources:
        return f"no dataset is called {name!r}: there are {', '.join(map(repr, _sources))}"
    example = f"datasets={{{name!r}: 's3://bucket/{name}/*.parquet'}}"
    if os.environ.get(c.AGENT_SOCKET) or os.environ.get(c.RUN_ID):
        return f"this run has no datasets: give the trainer {example}"
    return (
        f"this process has no datasets: pass {example} to TorchTrainer or TensorflowTrainer, or call"
        f" paceline.train.use_datasets({{{name!r}: ...}}) in a script of your own"
    )
