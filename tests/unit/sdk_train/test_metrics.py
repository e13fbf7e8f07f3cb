from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from paceline._metrics import encode, json_safe, numbers_again, reported_step


class Scalar:
    """What a tensor looks like: the tests' environment has no torch."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def item(self) -> Any:
        return self._value


def of_module(module: str, name: str, value: Any = 1.5) -> Any:
    return type(name, (Scalar,), {"__module__": module})(value)


SHARED = [1]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        pytest.param({"a": 1, "b": 0.5, "c": "x", "d": True, "e": None}, None, id="plain"),
        pytest.param({"a": [1, {"b": 2.5}], "c": {"d": "e"}}, None, id="nested"),
        pytest.param({"a": (1, 2)}, {"a": [1, 2]}, id="tuple"),
        pytest.param(
            {"a": float("nan"), "b": [float("inf"), -float("inf")]},
            {"a": "NaN", "b": ["Infinity", "-Infinity"]},
            id="NaN",
        ),
        pytest.param(
            {"a": np.float32(1.5), "b": np.float64(2.5), "c": np.int64(3), "d": np.bool_(True), "e": np.str_("x")},
            {"a": 1.5, "b": 2.5, "c": 3, "d": True, "e": "x"},
            id="numpy scalars",
        ),
        pytest.param(
            {"a": np.float32("nan"), "b": [np.float16("inf")]}, {"a": "NaN", "b": ["Infinity"]}, id="numpy NaN"
        ),
        pytest.param({"a": [SHARED, SHARED]}, {"a": [[1], [1]]}, id="the same list twice is no circle"),
        pytest.param({"a\n": "\n"}, None, id="newlines"),
        pytest.param({}, None, id="empty"),
    ],
)
def test_what_can_be_reported(given: dict[str, Any], stored: dict[str, Any] | None) -> None:
    line = encode(given)
    assert "\n" not in line
    assert json.loads(line) == (given if stored is None else stored)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param(
            {"loss": of_module("torch", "Tensor")}, r"metrics\['loss'\] is a torch.Tensor.*call .item\(\)", id="torch"
        ),
        pytest.param(
            {"a": {"b": of_module("tensorflow.python", "EagerTensor")}}, r"\['a'\]\['b'\].*\.item\(\)", id="tensorflow"
        ),
        pytest.param({"a": np.zeros(3)}, r"numpy.ndarray.*\.tolist\(\)", id="array"),
        pytest.param({"a": np.datetime64("2026-01-02")}, "numpy.datetime64.*report numbers", id="numpy date"),
        pytest.param({"a": b"x"}, "is a bytes", id="bytes"),
        pytest.param({"a": {"b": {None: 1}}}, r"metrics\['a'\]\['b'\] has the key None", id="inner key"),
        pytest.param({"a": object()}, "is a object, which cannot be reported", id="object"),
        pytest.param({"a": {1, 2}}, "is a set", id="set"),
        pytest.param({1: 2}, "keys must be strings", id="key"),
        pytest.param([1], "takes a dict of metrics, not list", id="list"),
        pytest.param(None, "takes a dict of metrics, not NoneType", id="None"),
    ],
)
def test_what_cannot_be_reported_is_refused_with_the_way_out(given: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        encode(given)


def test_what_contains_itself_is_refused() -> None:
    circle: dict[str, Any] = {"loss": 1.0, "history": []}
    circle["history"].append(circle)
    with pytest.raises(ValueError, match=r"metrics\['history'\]\[0\] contains itself"):
        encode(circle)
    assert json_safe(circle)["loss"] == 1.0
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        encode({"a": deep})
    json.dumps(json_safe(deep))


def test_a_reader_gets_nan_and_infinity_back() -> None:
    told = json.loads(encode({"a": math.nan, "b": [math.inf, -math.inf], "c": {"d": "nan", "e": 1}}))
    found = numbers_again(told)
    assert math.isnan(found.pop("a"))
    assert found == {"b": [math.inf, -math.inf], "c": {"d": "nan", "e": 1}}


def test_json_safe_never_fails() -> None:
    assert json_safe({1: {2.5}, "a": float("nan"), "b": (int,)}) == {"1": [2.5], "a": "NaN", "b": ["<class 'int'>"]}


@pytest.mark.parametrize(
    ("metrics", "step"),
    [
        ({"loss": 1.0}, None),
        ({"step": 7, "global_step": 9}, 7),
        ({"global_step": 9.0}, 9),
        ({"step": True}, None),
        ({"step": "Infinity"}, None),
        ({"step": "NaN", "global_step": 3}, 3),
    ],
)
def test_a_report_names_its_step_itself_where_that_is_a_finite_number(
    metrics: dict[str, Any], step: int | None
) -> None:
    assert reported_step(metrics) == step
