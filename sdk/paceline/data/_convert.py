"""Columns of Arrow as arrays of numpy, without a loop over the rows.

The rules: numbers and booleans keep their type. A null in a column of floats is NaN; in one of whole numbers or
booleans it is an error, since no value of its type says "nothing". Lists of one length become an axis more. Texts,
bytes and what numpy has no type for become arrays of objects, with None for a null. The arrays may be written to.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types


def to_numpy(table: pa.Table, what: str) -> dict[str, Any]:
    """Each column as an array whose first axis is the row.

    Args:
        table: A batch.
        what: Begins the error: `datasets['train']`.
    Raises:
        ValueError: A null for which the type has no value; the message names the column.
    """
    return {name: _column(table.column(name), f"{what}: column {name!r}") for name in table.column_names}


def _column(column: pa.ChunkedArray, where: str) -> Any:
    if column.num_chunks == 1:
        array = column.chunk(0)
    elif isinstance(column.type, pa.FixedShapeTensorType):
        array = pa.ExtensionArray.from_storage(column.type, pa.concat_arrays([c.storage for c in column.chunks]))
    else:
        array = pa.concat_arrays(column.chunks)
    found = _array(array, where)
    return found if found.flags.writeable else found.copy()


def _array(array: pa.Array, where: str) -> Any:
    kind = array.type
    if isinstance(kind, pa.FixedShapeTensorType):
        _check_nulls(array, where)
        return array.to_numpy_ndarray()
    if isinstance(array, pa.ExtensionArray):
        return _array(array.storage, where)
    if types.is_dictionary(kind):
        return _array(array.dictionary_decode(), where)
    if types.is_fixed_size_list(kind):
        _check_nulls(array, where)
        return _grouped(array.flatten(), len(array), kind.list_size, where)
    if types.is_list(kind) or types.is_large_list(kind):
        return _lists(array, where)
    if types.is_integer(kind) or types.is_boolean(kind):
        _check_nulls(array, where)
    return array.to_numpy(zero_copy_only=False)


def _lists(array: pa.Array, where: str) -> Any:
    _check_nulls(array, where)
    lengths = pc.list_value_length(array)
    ends = pc.min_max(lengths)
    if len(array) and ends["min"] == ends["max"]:
        return _grouped(array.flatten(), len(array), ends["min"].as_py(), where)
    values = _array(array.flatten(), where)
    found = np.empty(len(array), dtype=object)
    found[:] = np.split(values, np.cumsum(lengths.to_numpy(zero_copy_only=False))[:-1]) if len(array) else []
    return found


def _grouped(values: pa.Array, rows: int, each: int, where: str) -> Any:
    flat = _array(values, where)
    return flat.reshape((rows, each, *flat.shape[1:]))


def _check_nulls(array: pa.Array, where: str) -> None:
    if array.null_count:
        raise ValueError(
            f"{where} ({array.type}) has nulls, for which numpy has no value of this type: fill them where the files"
            " are written, store the column as a float (a null is NaN there), leave it out with columns=[...], or take"
            " batch_format='pyarrow' or 'pandas'"
        )
