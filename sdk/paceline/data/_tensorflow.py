"""Batches as tensors of TensorFlow. This module is imported when they are asked for, and TensorFlow with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from paceline.data._convert import to_numpy
from paceline.data._options import check_known


def converter(what: str, columns: Sequence[str], dtypes: Any) -> Callable[[Any], dict[str, Any]]:
    """What makes tensors of a `pyarrow.Table`.

    Args:
        what: Begins the errors of the conversion.
        columns: Their names.
        dtypes: As the user gives them.
    Raises:
        TypeError: `dtypes` has something in it that is no type.
        ValueError: `dtypes` names no column.
    """
    given = dtypes if isinstance(dtypes, Mapping) else dict.fromkeys(columns, dtypes)
    check_known("dtypes", list(given), columns)
    wanted = {name: tf.as_dtype(dtype) for name, dtype in given.items() if dtype is not None}

    def convert(table: Any) -> dict[str, Any]:
        return {
            name: _tensor(array, wanted.get(name), f"{what}: column {name!r}")
            for name, array in to_numpy(table, what).items()
        }

    return convert


def _tensor(array: Any, dtype: Any, where: str) -> Any:
    try:
        if array.dtype.kind in "Mm":
            raise TypeError(f"{array.dtype} has no tensor")
        # Texts are objects to numpy.
        tensor = tf.convert_to_tensor(array, dtype=tf.string if array.dtype == object else None)
        return tensor if dtype is None or tensor.dtype == dtype else tf.cast(tensor, dtype)
    except (TypeError, ValueError, tf.errors.UnimplementedError) as e:
        raise ValueError(
            f"{where} is no tensor{f' of {dtype.name}' if dtype else ''}: {e}; leave it out with columns=[...], or use"
            " iter_batches"
        ) from None
