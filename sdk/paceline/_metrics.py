"""What may be reported: plain numbers, strings, bools, None, lists and dicts of them. Standard library only.

JSON knows no NaN and no infinity. They travel and are stored as the strings "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_PLAIN = frozenset({int, float, str, bool, type(None)})
# Refuses NaN, which the slow path then replaces; compact, as the line is all that a report costs.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def encode(metrics: Mapping[str, Any]) -> str:
    """One line of JSON.

    Raises:
        TypeError: `metrics` is no dict, a key is no string, or a value is of a kind that cannot be reported.
    """
    if type(metrics) is dict and _PLAIN.issuperset(map(type, metrics.values())):
        keys_plain = set(map(type, metrics)) <= {str}
        if keys_plain:
            try:
                return _encode(metrics)
            except ValueError:  # NaN or infinity
                pass
    if not isinstance(metrics, Mapping):
        raise TypeError(f"report() takes a dict of metrics, not {_kind(metrics)}")
    return _encode(_plain(metrics, "metrics"))


def json_safe(value: Any) -> Any:
    """Any JSON-like value with NaN and infinity as strings, and what JSON lacks as its `repr`."""
    try:
        return _plain(value, "value")
    except TypeError:
        if isinstance(value, Mapping):
            return {str(key): json_safe(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [json_safe(item) for item in value]
        return repr(value)


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _number(float(value))
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r} of type {_kind(key)}: keys must be strings")
        return {str(key): _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    return _scalar(value, where)


def _number(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _scalar(value: Any, where: str) -> Any:
    module = type(value).__module__.partition(".")[0]
    # numpy's scalars alone: what `.item()` costs on a tensor (a wait for the GPU) should stand in the user's code.
    if module == "numpy" and type(value).__name__ != "ndarray" and hasattr(value, "item"):
        item = value.item()
        if item is not value and type(item) in _PLAIN:
            return _plain(item, where)
    way_out = "report numbers, strings, bools, lists or dicts"
    if hasattr(value, "item") or module in ("torch", "tensorflow", "jax", "jaxlib", "keras"):
        way_out = "call .item() on a tensor of one element, or .tolist() on an array"
    raise TypeError(f"{where} is a {_kind(value)}, which cannot be reported: {way_out}")


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
