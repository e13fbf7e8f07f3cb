"""A batch as numpy arrays, an Arrow table, a DataFrame or lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paceline.data._packages import needs


def converter(batch_format: str, what: str) -> Callable[[Any], Any]:
    """What makes a batch of a `pyarrow.Table`.

    Args:
        batch_format: As the user gives it.
        what: Begins the errors of the conversion.
    Raises:
        ValueError: There is no such format.
        ImportError: What it needs is not installed.
    """
    if batch_format == "pyarrow":
        return lambda table: table
    if batch_format == "dict":
        return lambda table: table.to_pydict()
    if batch_format == "pandas":
        needs("pandas", "batch_format='pandas'", "pip install 'paceline[dataframe]'")
        return lambda table: table.to_pandas()
    if batch_format == "numpy":
        return numpy_converter(what, "batch_format='numpy'")
    raise ValueError(f"batch_format is {batch_format!r}: use 'numpy', 'pyarrow', 'pandas' or 'dict'")


def numpy_converter(what: str, needed_for: str) -> Callable[[Any], dict[str, Any]]:
    """What makes a dict of arrays.

    Raises:
        ImportError: numpy is not installed.
    """
    needs("numpy", needed_for, "pip install numpy")
    from paceline.data._convert import to_numpy

    return lambda table: to_numpy(table, what)
