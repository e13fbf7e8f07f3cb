"""What each type of Arrow becomes in numpy: one table."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from paceline.data._convert import to_numpy


def convert(*chunks: pa.Array) -> Any:
    return to_numpy(pa.table({"c": pa.chunked_array(list(chunks), type=chunks[0].type)}), "datasets['train']")["c"]


NAN = float("nan")
PAIRS = pa.list_(pa.float32(), 2)
IMAGES = pa.list_(pa.list_(pa.uint8(), 2), 3)
TENSORS = pa.fixed_shape_tensor(pa.int16(), [2, 2])


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        pytest.param(pa.array([1, 2], pa.int32()), np.array([1, 2], np.int32), id="int"),
        pytest.param(pa.array([True, False]), np.array([True, False]), id="bool"),
        pytest.param(pa.array([1.5, None], pa.float32()), np.array([1.5, NAN], np.float32), id="null in float is nan"),
        pytest.param(pa.array([[1, 2], [3, 4]], PAIRS), np.array([[1, 2], [3, 4]], np.float32), id="fixed size list"),
        pytest.param(
            pa.array([[1, 2], [3, 4], [5, 6]], PAIRS).slice(1), np.array([[3, 4], [5, 6]], np.float32), id="a slice"
        ),
        pytest.param(pa.array([[1, None]], PAIRS), np.array([[1, NAN]], np.float32), id="nan in a list"),
        pytest.param(
            pa.array([[[1, 2], [3, 4], [5, 6]]] * 2, IMAGES),
            np.array([[[1, 2], [3, 4], [5, 6]]] * 2, np.uint8),
            id="nested",
        ),
        pytest.param(pa.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 4]]), id="lists of one length"),
        pytest.param(pa.array([[[1], [2]], [[3], [4]]]), np.array([[[1], [2]], [[3], [4]]]), id="lists of lists"),
        pytest.param(
            pa.array([["a", "b"]], pa.list_(pa.string(), 2)), np.array([["a", "b"]], object), id="texts in it"
        ),
        pytest.param(
            pa.ExtensionArray.from_storage(TENSORS, pa.array([[1, 2, 3, 4]], pa.list_(pa.int16(), 4))),
            np.array([[[1, 2], [3, 4]]], np.int16),
            id="fixed shape tensor",
        ),
        pytest.param(pa.array(["a", None]), np.array(["a", None], object), id="text"),
        pytest.param(pa.array(["b", "a", "b"]).dictionary_encode(), np.array(["b", "a", "b"], object), id="dictionary"),
        pytest.param(pa.array([b"a"]), np.array([b"a"], object), id="bytes"),
        pytest.param(
            pa.array([datetime.date(2026, 1, 2), None]), np.array(["2026-01-02", "NaT"], "datetime64[D]"), id="date"
        ),
    ],
)
@pytest.mark.parametrize("chunks", [1, 2])
def test_a_column_becomes_an_array_of_its_type_that_may_be_written_to(
    array: pa.Array, wanted: Any, chunks: int
) -> None:
    found = convert(*[array] * chunks)
    np.testing.assert_array_equal(found, np.concatenate([wanted] * chunks))
    assert found.dtype == wanted.dtype
    found[0] = found[-1]


def test_lists_of_different_lengths_are_an_array_of_arrays() -> None:
    found = convert(pa.array([[1], [2, 3], []]), pa.array([[4]]))
    assert found.dtype == object
    assert [list(row) for row in found] == [[1], [2, 3], [], [4]]


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(pa.array([1, None]), id="int"),
        pytest.param(pa.array([True, None]), id="bool"),
        pytest.param(pa.array([[1, 2], None], PAIRS), id="fixed size list"),
        pytest.param(pa.array([[1, 2], None]), id="list"),
        pytest.param(pa.array([[1, None]]), id="int in a list"),
    ],
)
def test_a_null_without_a_value_of_its_type_is_an_error_that_names_the_column(array: pa.Array) -> None:
    with pytest.raises(ValueError, match=r"datasets\['train'\]: column 'c' .* has nulls.*columns=\[\.\.\.\]"):
        convert(array)
