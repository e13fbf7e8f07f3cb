"""Files of a dataset as pyarrow reads them: how many rows each piece has, and the rows of some pieces as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from paceline.storage import StorageError

# What a scan reads before it is asked for is held in memory: two of its batches, not its sixteen.
_READAHEAD = 2
# Of Parquet so much is decoded at a time, and never more rows than a scan would.
_DECODED_BYTES = 4 * 1024 * 1024
_MOST_ROWS = 131_072
# A larger row group is not fetched in one go, but column by column through buffers.
_HUGE_BYTES = 512 * 1024 * 1024
_BUFFER_BYTES = 8 * 1024 * 1024
# A larger footer is read again for each row group, so that thousands of files do not fill the memory.
_KEPT_FOOTER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a unit without its rows."""

    schema: pa.Schema
    counts: tuple[int, ...]  # rows of each piece


class Unit(Protocol):
    """A file, a fragment of a dataset, or a table."""

    name: str
    size: int
    """Bytes; 0 where they are not known."""
    remote: bool
    """Whether a store has to be asked for the rows, so that asking early pays."""

    def look(self) -> Look:
        """Its columns, and the rows of its pieces."""
        ...

    def read(self, first: int, last: int, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows of the pieces from `first` until before `last`, in order.

        Args:
            first: Number of a piece.
            last: Number of the piece behind the last.
            columns: Names; their order counts.
            schema: Of the dataset; the types that the columns get.
        """
        ...


class Fragment:
    """A file that pyarrow scans, of text or of a dataset that pyarrow made: of Parquet each row group is a piece, of
    everything else the whole file.
    """

    def __init__(self, fragment: Any, name: str, size: int = 0) -> None:
        self._fragment = fragment
        self.remote = is_remote(getattr(fragment, "filesystem", None))
        self.name = name
        self.size = size

    def look(self) -> Look:
        """From the footer of Parquet; the types of text from its first rows, for their number it is read through."""
        with told(self.name):
            if isinstance(self._fragment, ds.ParquetFileFragment):
                counts = tuple(group.num_rows for group in self._fragment.row_groups)
            else:
                counts = (self._fragment.count_rows(),)
            return Look(self._fragment.physical_schema, counts)

    def read(self, first: int, last: int, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """A scan of the row groups."""
        with told(self.name):
            fragment = self._fragment
            if isinstance(fragment, ds.ParquetFileFragment):
                fragment = fragment.subset(row_group_ids=[group.id for group in fragment.row_groups[first:last]])
            yield from fragment.to_batches(schema=schema, columns=list(columns), batch_readahead=_READAHEAD)


class ArrowFile:
    """A file of Arrow's IPC format (Feather V2): each record batch is a piece."""

    def __init__(self, filesystem: Any, path: str, size: int = 0) -> None:
        self._filesystem = filesystem
        self.remote = is_remote(filesystem)
        self.name = path
        self.size = size

    def look(self) -> Look:
        """Of the rows one column is read: the format has no count of its own."""
        with told(self.name), self._open() as reader:
            schema = reader.schema
        with told(self.name), self._open(_narrowest(schema)) as reader:
            return Look(schema, tuple(reader.get_batch(i).num_rows for i in range(reader.num_record_batches)))

    def read(self, first: int, last: int, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The record batches, of the columns that are asked for alone."""
        with told(self.name):
            with self._open() as reader:
                own = reader.schema
            wanted = [own.get_field_index(name) for name in columns]
            with self._open(sorted(wanted)) as reader:
                for number in range(first, last):
                    yield as_schema(reader.get_batch(number), columns, schema)

    @contextmanager
    def _open(self, fields: Sequence[int] = ()) -> Iterator[Any]:
        with self._filesystem.open_input_file(self.name) as file:
            options = pa.ipc.IpcReadOptions(included_fields=list(fields), use_threads=True)
            try:
                yield pa.ipc.open_file(file, options=options)
            except pa.ArrowInvalid as e:
                if "Not an Arrow file" not in str(e):
                    raise
                raise ValueError(
                    f"{self.name} is no file of Arrow's IPC format: write it with pyarrow.ipc.new_file (new_stream"
                    " makes a stream, which has no index) or pyarrow.feather.write_feather(version=2)"
                ) from None


class ParquetFile:
    """A file of Parquet: each row group is a piece.

    Not a scan of pyarrow's datasets: that decodes a row group whole, and holds four of them.
    """

    def __init__(self, filesystem: Any, path: str, size: int = 0) -> None:
        self._filesystem = filesystem
        self.remote = is_remote(filesystem)
        self._footer: Any = None
        self.name = path
        self.size = size

    def look(self) -> Look:
        """From the footer."""
        with told(self.name), self._open() as file:
            footer = file.metadata
            return Look(file.schema_arrow, tuple(footer.row_group(i).num_rows for i in range(footer.num_row_groups)))

    def read(self, first: int, last: int, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Decoded a few MiB at a time; each row group is asked of a store in one go, unless it is huge."""
        with told(self.name):
            if self._footer is None:
                with self._open() as file:
                    self._footer = file.metadata
            groups = [self._footer.row_group(number) for number in range(first, last)]
            rows, size = sum(group.num_rows for group in groups), sum(group.total_byte_size for group in groups)
            huge = size > _HUGE_BYTES
            how = {"pre_buffer": self.remote and not huge, "buffer_size": _BUFFER_BYTES if huge else 0}
            footer = self._footer
            if footer.serialized_size > _KEPT_FOOTER_BYTES:
                self._footer = None
            at_once = max(min(_DECODED_BYTES * rows // max(size, 1), _MOST_ROWS), 1)
            with self._open(metadata=footer, **how) as file:
                found = file.iter_batches(batch_size=at_once, row_groups=[*range(first, last)], columns=[*columns])
                yield from (as_schema(batch, columns, schema) for batch in found)

    def _open(self, **how: Any) -> Any:
        return pq.ParquetFile(self.name, filesystem=self._filesystem, **how)


class Table:
    """Rows in memory."""

    size = 0
    remote = False

    def __init__(self, table: Any, name: str) -> None:
        self._batches = table.to_batches()
        self._schema = table.schema
        self.name = name

    def look(self) -> Look:
        """Its record batches."""
        return Look(self._schema, tuple(batch.num_rows for batch in self._batches))

    def read(self, first: int, last: int, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """No copy."""
        for batch in self._batches[first:last]:
            yield batch.select(list(columns))


@contextmanager
def told(name: str) -> Iterator[None]:
    """Errors of pyarrow with the name of the file.

    Raises:
        ValueError: It is damaged, or its content does not fit.
        StorageError: It cannot be read (now).
    """
    try:
        yield
    except FileNotFoundError as e:
        raise StorageError(f"{name} is gone: the files of a dataset have to stay while a run reads them") from e
    except pa.ArrowException as e:
        raise ValueError(f"cannot read {name}: {e}") from e
    except OSError as e:
        raise StorageError(f"cannot read {name}: {e}", retryable=True) from e


def is_remote(filesystem: Any) -> bool:
    """Whether it is not the local one (or none)."""
    while getattr(filesystem, "type_name", "") == "subtree":
        filesystem = filesystem.base_fs
    return getattr(filesystem, "type_name", "local") != "local"


def as_schema(batch: pa.RecordBatch, columns: Sequence[str], schema: pa.Schema) -> pa.RecordBatch:
    """These columns in this order, with the types of the dataset."""
    wanted = pa.schema([schema.field(name) for name in columns])
    found = batch.select(list(columns))
    return found if found.schema.equals(wanted) else found.cast(wanted)


def _narrowest(schema: pa.Schema) -> list[int]:
    """The column that costs least to read; none: there are no columns."""

    def width(index: int) -> int:
        try:
            return int(schema.field(index).type.bit_width)
        except ValueError:  # texts and lists
            return 1 << 20

    return [min(range(len(schema)), key=width)] if len(schema) else []
