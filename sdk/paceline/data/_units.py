"""Files of a dataset as pyarrow reads them: how many rows each piece has, and the rows of some pieces as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.dataset as ds

from paceline.storage import StorageError

# Rows that a scan reads before they are asked for are held in memory: two of its batches, not its sixteen.
_READAHEAD = 2


class Unit(Protocol):
    """A file, a fragment of a dataset, or a table."""

    name: str
    size: int
    """Bytes; 0 where they are not known."""

    def counts(self) -> tuple[int, ...]:
        """Rows of each piece."""
        ...

    def schema(self) -> pa.Schema:
        """Its own columns."""
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
    """A file that pyarrow scans: of Parquet each row group is a piece, of CSV and JSON the whole file."""

    def __init__(self, fragment: Any, name: str, size: int = 0) -> None:
        self._fragment = fragment
        self.name = name
        self.size = size

    def counts(self) -> tuple[int, ...]:
        """From the footer of Parquet; text is read through."""
        with told(self.name):
            if isinstance(self._fragment, ds.ParquetFileFragment):
                return tuple(group.num_rows for group in self._fragment.row_groups)
            return (self._fragment.count_rows(),)

    def schema(self) -> pa.Schema:
        """From the footer; of text from its first rows."""
        with told(self.name):
            return self._fragment.physical_schema

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
        self.name = path
        self.size = size

    def counts(self) -> tuple[int, ...]:
        """Only one column is read: the format has no count of its own."""
        with told(self.name), self._open() as reader:
            fields = _narrowest(reader.schema)
        with told(self.name), self._open(fields) as reader:
            return tuple(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))

    def schema(self) -> pa.Schema:
        """From its head."""
        with told(self.name), self._open() as reader:
            return reader.schema

    def read(self, first: int, last: int, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The record batches, of the columns that are asked for alone."""
        with told(self.name):
            with self._open() as reader:
                own = reader.schema
            wanted = [own.get_field_index(name) for name in columns]
            with self._open(sorted(wanted)) as reader:
                for number in range(first, last):
                    batch = reader.get_batch(number).select(list(columns))
                    yield batch.cast(pa.schema([schema.field(name) for name in columns]))

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


class Table:
    """Rows in memory."""

    size = 0

    def __init__(self, table: Any, name: str) -> None:
        self._batches = table.to_batches()
        self._schema = table.schema
        self.name = name

    def counts(self) -> tuple[int, ...]:
        """Of its record batches."""
        return tuple(batch.num_rows for batch in self._batches)

    def schema(self) -> pa.Schema:
        """The table's."""
        return self._schema

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


def _narrowest(schema: pa.Schema) -> list[int]:
    """The column that costs least to read; none: there are no columns."""

    def width(index: int) -> int:
        try:
            return int(schema.field(index).type.bit_width)
        except ValueError:  # texts and lists
            return 1 << 20

    return [min(range(len(schema)), key=width)] if len(schema) else []
