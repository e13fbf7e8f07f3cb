from __future__ import annotations

import json
from typing import Any

import pytest

from paceline._metrics import encode, json_safe


class Scalar:
    """What numpy's scalars look like: the tests' environment has no numpy."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def item(self) -> Any:
        return self._value


def of_module(module: str, name: str, value: Any = 1.5) -> Any:
    return type(name, (Scalar,), {"__module__": module})(value)


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
        pytest.param({"a": of_module("numpy", "float32")}, {"a": 1.5}, id="numpy scalar"),
        pytest.param({"a": of_module("numpy", "float32", float("nan"))}, {"a": "NaN"}, id="numpy NaN"),
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
        pytest.param({"a": of_module("numpy", "ndarray")}, r"\.tolist\(\)", id="array"),
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


def test_json_safe_never_fails() -> None:
    assert json_safe({1: {2.5}, "a": float("nan"), "b": (int,)}) == {"1": [2.5], "a": "NaN", "b": ["<class 'int'>"]}
