from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from paceline_operator.resources import env, quantity
from paceline_operator.resources.merge import merge


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        pytest.param({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="added"),
        pytest.param({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}, id="maps by key"),
        pytest.param({"a": {"b": 1}}, {"a": None}, {}, id="null removes"),
        pytest.param({"a": {"b": 1}}, {"a": 3}, {"a": 3}, id="another kind replaces"),
        pytest.param(
            {"containers": [{"name": "worker", "image": "x"}]},
            {"containers": [{"name": "worker", "tty": True}, {"name": "side"}]},
            {"containers": [{"name": "worker", "image": "x", "tty": True}, {"name": "side"}]},
            id="by name",
        ),
        pytest.param(
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
            {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
            id="one source",
        ),
        pytest.param({"envFrom": [1]}, {"envFrom": [2]}, {"envFrom": [1, 2]}, id="appended"),
        pytest.param({"args": [1]}, {"args": [2]}, {"args": [2]}, id="other lists are replaced"),
        pytest.param(
            {"tolerations": [{"key": "a", "n": 1}, {"key": "b"}]},
            {"tolerations": [{"key": "a", "n": 2}]},
            {"tolerations": [{"key": "a", "n": 2}, {"key": "b"}]},
            id="the user's toleration of a taint wins",
        ),
    ],
)
def test_merge(base: dict[str, Any], over: dict[str, Any], merged: dict[str, Any]) -> None:
    assert merge(base, over) == merged


@pytest.mark.parametrize(
    ("text", "factor", "product"),
    [
        ("500m", 1, "500m"),
        ("500m", 4, "2000m"),
        ("1.5", 2, "3"),
        ("10", 10, "100"),
        ("16Gi", 8, "128Gi"),
        ("1e3", 2, "2e3"),
    ],
)
def test_times(text: str, factor: int, product: str) -> None:
    assert quantity.times(text, factor) == product


@pytest.mark.parametrize(("text", "number"), [("500m", "0.5"), ("2", "2"), ("1Ki", "1024"), ("1e3", "1000")])
def test_value(text: str, number: str) -> None:
    assert quantity.value(text) == Decimal(number)


def test_no_quantity_is_told() -> None:
    with pytest.raises(ValueError, match="'many' is no quantity"):
        quantity.value("many")


@pytest.mark.parametrize(("cpu", "threads"), [(None, "1"), ("500m", "1"), ("4", "4"), ("3500m", "3")])
def test_threads_are_the_whole_cpus_of_a_worker(cpu: str | None, threads: str) -> None:
    assert env.omp_threads(cpu) == threads
