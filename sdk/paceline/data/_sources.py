"""What a trainer's `datasets=` become: checked in the user's line, small to pickle, opened in the worker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paceline.data import _files
from paceline.data._config import DataConfig
from paceline.data._packages import NEEDS_PYARROW, needs

if TYPE_CHECKING:
    from paceline.data.shard import DataShard

_KINDS = "a path or URI, a list of them, a pyarrow.dataset.Dataset, a pyarrow.Table or a pandas.DataFrame"


@dataclass(frozen=True, slots=True)
class Source:
    """One dataset of a run. It is pickled with the training function.

    Attributes:
        name: As in `datasets={name: ...}`.
        paths: Files, directories and patterns, absolute or URIs; empty where `data` holds the dataset.
        data: A `pyarrow.dataset.Dataset` or a `pyarrow.Table`; None where there are paths.
        format: Of the files, where the user says it.
        split: Whether each rank gets a part; otherwise each gets all.
        shuffle: Whether the parts are dealt out anew in each epoch.
        seed: Of that.
    """

    name: str
    paths: tuple[str, ...] = ()
    data: Any = None
    format: str | None = None
    split: bool = True
    shuffle: bool = False
    seed: int = 0

    def open(self, rank: int = 0, world_size: int = 1, *, shared_as: str | None = None) -> DataShard:
        """The part of one rank. Lists the files and reads how many rows they have; reads no row.

        Args:
            rank: From 0.
            world_size: Number of ranks.
            shared_as: Names the run and its attempt: of the processes of this machine that give the same name, one asks
                the store, and the others read what it found. None: nothing is shared.
        Raises:
            FileNotFoundError: No file is there.
            ImportError: pyarrow is not installed.
            ValueError: The files are of an unknown format or damaged, or there are fewer rows than ranks.
            paceline.storage.StorageError: The store refused.
        """
        needs("pyarrow", f"datasets[{self.name!r}]", NEEDS_PYARROW)
        from paceline.data.shard import open_shard

        return open_shard(self, rank, world_size, shared_as)

    def describe(self) -> str:
        """For people, and for what a run writes about itself: paths, or the type of the object."""
        if self.paths:
            more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
            return f"{self.paths[0]}{more}"
        return f"a {type(self.data).__name__}"


def open_sources(
    datasets: Mapping[str, Any] | None, dataset_config: DataConfig | None = None, *, here: bool = True
) -> Mapping[str, Source]:
    """Check the datasets of a trainer. Asks no store; of local paths it looks whether they are there.

    Args:
        datasets: By name: a path or URI (`s3://bucket/train/*.parquet`), a list of them, a `pyarrow.dataset.Dataset`,
            a `pyarrow.Table` or a `pandas.DataFrame`.
        dataset_config: None: all are split, formats by suffix.
        here: Whether the workers run on this machine. Otherwise local paths are those of the pods, and not looked at.
    Returns:
        The sources by name; they can be pickled.
    Raises:
        TypeError: A dataset or a name of another type.
        ValueError: A URI or a format that is not known, a name in `dataset_config` that is no dataset.
        FileNotFoundError: A local path is not there.
        ImportError: pyarrow is not installed here, and the workers run here.
    """
    if dataset_config is not None and not isinstance(dataset_config, DataConfig):
        raise TypeError(f"dataset_config is a {type(dataset_config).__name__}: pass a paceline.train.DataConfig")
    config = dataset_config or DataConfig()
    if datasets is not None and not isinstance(datasets, Mapping):
        raise TypeError(f"datasets is a {type(datasets).__name__}: pass a dict of names and datasets")
    given = dict(datasets or {})
    for name in given:
        if not isinstance(name, str) or not name.strip():
            raise TypeError(f"datasets has the name {name!r}: use texts such as 'train'")
    config.check_names(given)
    if given and here:
        needs("pyarrow", "datasets", NEEDS_PYARROW)
    return {name: _source(name, value, config, here=here) for name, value in given.items()}


def _source(name: str, value: Any, config: DataConfig, *, here: bool) -> Source:
    what = f"datasets[{name!r}]"
    paths = _paths(what, value, here=here)
    form = config.format_of(name)
    for path in paths:
        if here or _files.is_remote(path):
            _files.check(what, path, form)
    return Source(
        name,
        paths=paths,
        data=None if paths else _in_memory(what, value, here=here),
        format=form,
        split=config.splits(name),
        shuffle=config.shuffles(name),
        seed=config.seed,
    )


def _paths(what: str, value: Any, *, here: bool) -> tuple[str, ...]:
    """Absolute, since a worker runs in another directory. Empty: it is no path."""
    if isinstance(value, str | os.PathLike):
        value = [value]
    if not isinstance(value, list | tuple):
        return ()
    if not value:
        raise ValueError(f"{what} is an empty list: give {_KINDS}")
    paths = []
    for each in value:
        if not isinstance(each, str | os.PathLike):
            raise TypeError(f"{what} has a {type(each).__name__} in its list: a list holds paths and URIs")
        path = os.fspath(each)
        if not isinstance(path, str) or not path.strip():
            raise ValueError(f"{what} is {path!r}: give {_KINDS}")
        if "://" not in path:
            if not here and not path.startswith("/"):
                raise ValueError(f"{what} is {path!r}: a pod knows no relative path, give an absolute one or a URI")
            path = str(Path(path).expanduser().absolute())
        paths.append(path)
    return tuple(paths)


def _in_memory(what: str, value: Any, *, here: bool) -> Any:
    """Told by the library of its class, so that none is imported for the others."""
    libraries = {kind.__module__.partition(".")[0] for kind in type(value).__mro__}
    if "pandas" in libraries and type(value).__name__ == "DataFrame":
        return _table(what, value)
    if "pyarrow" in libraries:
        import pyarrow as pa
        from pyarrow import dataset

        if isinstance(value, pa.Table):
            return value
        if isinstance(value, pa.RecordBatch):
            return pa.Table.from_batches([value])
        if isinstance(value, dataset.InMemoryDataset):  # cannot be pickled
            return value.to_table()
        if isinstance(value, dataset.Dataset):
            return _checked(what, value, here=here)
    raise TypeError(f"{what} is a {type(value).__name__}: give {_KINDS}")


def _table(what: str, frame: Any) -> Any:
    import pyarrow as pa

    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except pa.ArrowException as e:
        raise ValueError(f"{what}: this DataFrame has no form in Arrow: {e}") from e


def _checked(what: str, dataset: Any, *, here: bool) -> Any:
    if not here and _holds_a_key(getattr(dataset, "filesystem", None)):
        raise ValueError(
            f"{what} has a filesystem with an access key in it, which would be written into the cluster with the"
            " training function: give the URI, or a filesystem without keys; the pods find theirs in the environment"
        )
    try:
        dataset.get_fragments()
    except ValueError:
        raise ValueError(
            f"{what} is a filtered dataset, whose rows cannot be counted without reading them all: give the dataset"
            " itself and filter in the training function, or write the rows that you want to files of their own"
        ) from None
    return dataset


def _holds_a_key(filesystem: Any) -> bool:
    from pyarrow import fs

    while isinstance(filesystem, fs.SubTreeFileSystem):
        filesystem = filesystem.base_fs
    if getattr(filesystem, "type_name", "") != "s3":
        return False
    return any(part.get("secret_key") for part in filesystem.__reduce__()[1] if isinstance(part, dict))
