"""`DataShard`: the rows of one rank, in batches, epoch after epoch."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from paceline.data import _formatted, _prefetch, _split, _stream
from paceline.data._opening import Opened, opened
from paceline.data._options import Options, takes_other_names
from paceline.data._packages import needs

if TYPE_CHECKING:
    import pyarrow as pa

    from paceline.data._sources import Source

B = TypeVar("B")
C = TypeVar("C")
BatchFormat = Literal["numpy", "pyarrow", "pandas", "dict"]

# Small neighbouring row groups of a file are read together: up to so much of it, of an unknown size up to so many rows.
_TOGETHER_BYTES = 8 * 1024 * 1024
_TOGETHER_ROWS = 8192


class Batches(Generic[B]):
    """Batches of a shard. Each `for` over it is one epoch, and `len` is the number of batches in one.

    It can stand where a data loader is expected. An iteration that is left early stops its reading at once.
    """

    def __init__(self, count: int, epoch: Callable[[], Iterator[B]]) -> None:
        self._count = count
        self._epoch = epoch

    def __iter__(self) -> Iterator[B]:
        return self._epoch()

    def __len__(self) -> int:
        return self._count


class DataShard:
    """A rank's rows of a dataset: a part of the same size on each rank, or all of them.

    Attributes:
        name: Of the dataset.
        schema: The columns and their types, a `pyarrow.Schema`.
    """

    def __init__(self, source: Source, found: Opened, rank: int, world_size: int) -> None:
        self.name = source.name
        self.schema: pa.Schema = found.schema
        self._opened = found
        self._source = source
        self._rank = rank
        self._pieces = _split.pieces(found.counts)
        total = sum(piece.rows for piece in self._pieces)
        self._range = _split.part(total, rank, world_size) if source.split else (0, total)
        self._epoch = 0
        self._lock = threading.Lock()

    def count(self) -> int:
        """Rows of this shard; the same on every rank."""
        return self._range[1] - self._range[0]

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be this epoch, from 0; the ones after it count on from there.

        Equal seeds and epochs give equal orders, so call it after a restart.
        """
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise ValueError(f"set_epoch({epoch!r}): pass a whole number from 0")
        with self._lock:
            self._epoch = epoch

    @takes_other_names
    def iter_batches(
        self,
        *,
        batch_size: int = 256,
        batch_format: BatchFormat = "numpy",
        drop_last: bool = False,
        shuffle_buffer_size: int | None = None,
        seed: int | None = None,
        prefetch: int = 2,
        columns: Sequence[str] | None = None,
        skip_batches: int = 0,
    ) -> Batches[Any]:
        """The rows in batches. Every rank gets the same number of batches.

        Args:
            batch_size: Rows of a batch, on this rank; the last may have fewer.
            batch_format: `numpy`: a dict of arrays by column, which may be written to. `pyarrow`: a `pyarrow.Table`.
                `pandas`: a DataFrame. `dict`: a dict of lists.
            drop_last: Leave out a last batch with fewer rows.
            shuffle_buffer_size: Mix the rows: each batch is drawn from a window of so many, which is held in memory
                twice. None: in the order of the files.
            seed: Of the mixing, together with epoch and rank. None: `DataConfig.seed`.
            prefetch: Batches that a thread makes ahead. 0: no thread.
            columns: Names; others are not read. None: all.
            skip_batches: Leave out the first so many, as after a restart in mid-epoch. Where nothing is mixed they are
                not read.
        Raises:
            TypeError: A value of another type.
            ValueError: A value or a column that is not known. While iterating: what cannot be read or converted.
            paceline.storage.StorageError: While iterating: the store failed.
        """
        options = self._options(batch_size, drop_last, shuffle_buffer_size, seed, prefetch, columns, skip_batches)
        return self._batches(options, _formatted.converter(batch_format, self._opened.what))

    @takes_other_names
    def iter_torch_batches(
        self,
        *,
        batch_size: int = 256,
        dtypes: Any = None,
        device: Any = "auto",
        collate_fn: Callable[[dict[str, Any]], Any] | None = None,
        drop_last: bool = False,
        shuffle_buffer_size: int | None = None,
        seed: int | None = None,
        prefetch: int = 2,
        columns: Sequence[str] | None = None,
        skip_batches: int = 0,
    ) -> Batches[Any]:
        """The rows in batches of `torch` tensors: a dict of a tensor by column.

        The arguments that are not here are those of `iter_batches`.

        Args:
            dtypes: A `torch.dtype` for all columns, or a dict with some by column. None: that of the column.
            device: Where the tensors are: `auto` (the current GPU of this process where there is one, otherwise the
                CPU), or what `torch.device` takes. A copy to a GPU starts in pinned memory and overlaps with the step.
            collate_fn: Makes the batch from the dict of numpy arrays instead, in the thread that prefetches; tensors in
                dicts, lists and tuples of what it returns are moved to the device.
        Raises:
            ImportError: torch is not installed.
            ValueError: Also, while iterating: a column that is no tensor (texts, lists of different lengths).
        """
        options = self._options(batch_size, drop_last, shuffle_buffer_size, seed, prefetch, columns, skip_batches)
        needs("numpy", "iter_torch_batches", "pip install numpy")
        needs("torch", "iter_torch_batches", "pip install 'paceline[torch]', or use iter_batches")
        from paceline.data import _torch

        target = _torch.target(device)
        convert = _torch.converter(self._opened.what, options.columns, dtypes, collate_fn, target)
        return self._batches(options, convert, None if target.type == "cpu" else _torch.mover(target))

    @takes_other_names
    def iter_tf_batches(
        self,
        *,
        batch_size: int = 256,
        dtypes: Any = None,
        drop_last: bool = False,
        shuffle_buffer_size: int | None = None,
        seed: int | None = None,
        prefetch: int = 2,
        columns: Sequence[str] | None = None,
        skip_batches: int = 0,
    ) -> Batches[Any]:
        """The rows in batches of TensorFlow tensors: a dict of a tensor by column. Texts are tensors too.

        The arguments that are not here are those of `iter_batches`.

        Args:
            dtypes: A `tf.DType` for all columns, or a dict with some by column. None: that of the column.
        Raises:
            ImportError: TensorFlow is not installed.
            ValueError: Also, while iterating: a column that is no tensor (lists of different lengths).
        """
        options = self._options(batch_size, drop_last, shuffle_buffer_size, seed, prefetch, columns, skip_batches)
        needs("tensorflow", "iter_tf_batches", "pip install 'paceline[tensorflow]', or use iter_batches")
        from paceline.data import _tensorflow

        return self._batches(options, _tensorflow.converter(self._opened.what, options.columns, dtypes))

    def _options(
        self,
        batch_size: int,
        drop_last: bool,
        shuffle_buffer_size: int | None,
        seed: int | None,
        prefetch: int,
        columns: Sequence[str] | None,
        skip_batches: int,
    ) -> Options:
        if shuffle_buffer_size is not None:
            needs("numpy", "shuffle_buffer_size", "pip install numpy")
        return Options.of(
            self.schema,
            batch_size=batch_size,
            drop_last=drop_last,
            shuffle_buffer_size=shuffle_buffer_size,
            seed=seed,
            prefetch=prefetch,
            columns=columns,
            skip_batches=skip_batches,
        )

    def _batches(
        self, options: Options, convert: Callable[[Any], B], finish: Callable[[B], Any] | None = None
    ) -> Batches[Any]:
        """Batches that `convert` makes of tables, in the thread, and `finish` of those, in the caller's."""

        def epoch() -> Iterator[Any]:
            made = _prefetch.prefetched(self._made(options, convert, self._next_epoch()), options.prefetch)
            return made if finish is None else _mapped(made, finish)

        return Batches(options.batches(self.count()), epoch)

    def _made(self, options: Options, convert: Callable[[Any], B], epoch: int) -> Generator[B, None, None]:
        for table in self._tables(options, epoch):
            yield convert(table)

    def _tables(self, options: Options, epoch: int) -> Iterator[Any]:
        start, stop = self._range
        window = options.shuffle_buffer_size
        skip = options.skip_batches
        if window is None:
            start, skip = min(start + skip * options.batch_size, stop), 0
        stretches = _split.stretches(self._order(epoch), start, stop, self._at_once)
        found: Iterator[Any] = _stream.rows(self._opened, stretches, options.columns)
        if window is not None:
            seed = self._source.seed if options.seed is None else options.seed
            found = _stream.mixed(found, window, (seed, epoch, self._rank))
        for number, table in enumerate(_stream.batched(found, options.batch_size, drop_last=options.drop_last)):
            if number >= skip:
                yield table

    def _order(self, epoch: int) -> Sequence[_split.Piece]:
        if not self._source.shuffle:
            return self._pieces
        import numpy as np

        # Without the rank: all ranks deal the same cards.
        order = np.random.default_rng([self._source.seed, epoch]).permutation(len(self._pieces))
        return [self._pieces[number] for number in order]

    def _at_once(self, unit: int) -> int:
        size, rows = self._opened.units[unit].size, sum(self._opened.counts[unit])
        return rows * _TOGETHER_BYTES // size if size else _TOGETHER_ROWS

    def _next_epoch(self) -> int:
        with self._lock:
            self._epoch += 1
            return self._epoch - 1

    def __repr__(self) -> str:
        return f"DataShard({self.name!r}, {self.count()} rows)"


def open_shard(source: Source, rank: int, world_size: int, shared_as: str | None) -> DataShard:
    """See `Source.open`."""
    if source.shuffle:
        needs("numpy", f"DataConfig.shuffle of {source.name!r}", "pip install numpy")
    found = opened(source, shared_as)
    total = sum(map(sum, found.counts))
    if source.split:
        if total < world_size:
            raise ValueError(
                f"{found.what} has {total} rows for {world_size} ranks: give it at least one row a rank, or leave its"
                " name out of DataConfig(datasets_to_split=[...]) so that each rank gets all of it"
            )
        if rank == 0 and (left := total % world_size):
            sys.stderr.write(
                f"paceline: {found.what} has {total} rows: each of {world_size} ranks gets {total // world_size}, and"
                f" {left} {'is' if left == 1 else 'are'} left out\n"
            )
    return DataShard(source, found, rank, world_size)


def _mapped(made: Iterator[B], finish: Callable[[B], C]) -> Iterator[C]:
    for batch in made:
        yield finish(batch)
