"""What may be reported: plain numbers, strings, bools, None, lists and dicts of them. Standard library only.

JSON knows no NaN and no infinity. They travel and are stored as the strings "NaN", "Infinity" and "-Infinity";
`numbers_again` brings them back for who reads a result.
"""

from __future__ import annotations

import json
import json.encoder
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_PLAIN = frozenset({int, float, str, bool, type(None)})
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_TEXT = 40  # characters of a value where people read it
_TENSOR_MODULES = ("torch", "tensorflow", "jax", "jaxlib", "keras", "cupy")


def _encoder() -> Callable[[Any], str]:
    """Refuses NaN, which the slow path then replaces; compact, as the line is all that a report costs."""
    plainly = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    try:
        # JSONEncoder.encode makes this object anew for every call, which is half of its time.
        chunks = make(None, plainly.default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, False)
        if "".join(chunks({"a": [1, "b"]}, 0)) == '{"a":[1,"b"]}':
            return lambda value: "".join(chunks(value, 0))
    except TypeError:  # another Python than CPython, or one that makes it otherwise
        pass
    return plainly.encode


_encode = _encoder()


def encode(metrics: Mapping[str, Any]) -> str:
    """One line of JSON.

    Raises:
        TypeError: `metrics` is no dict, a key is no string, or a value is of a kind that cannot be reported.
        ValueError: A list or dict contains itself, or they are nested too deeply.
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
    return _encode(plain(metrics, "metrics"))


def plain(value: Any, where: str) -> Any:
    """The same as JSON has it: numpy scalars as numbers, tuples as lists, NaN and infinity as strings.

    Args:
        where: What the value is called in messages.
    Raises:
        TypeError: A key is no string, or a value is of a kind that JSON lacks.
        ValueError: A list or dict contains itself, or they are nested too deeply.
    """
    try:
        return _plain(value, where, ())
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply: report a flatter dict") from None


def json_safe(value: Any) -> Any:
    """Any JSON-like value with NaN and infinity as strings, and what JSON lacks as its `repr`."""
    return _safe(value, ())


def numbers_again(value: Any) -> Any:
    """A stored value with the strings "NaN", "Infinity" and "-Infinity" as the floats that they stand for."""
    if isinstance(value, str):
        return _WORDS.get(value, value)
    if isinstance(value, dict):
        return {key: numbers_again(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbers_again(item) for item in value]
    return value


def flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values, those of nested dicts as `val/acc`."""
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value


def reported_step(metrics: Mapping[str, Any]) -> int | None:
    """The step that a report names itself; None: it counts as one more.

    Args:
        metrics: As they travel: a step that is no finite number is a string.
    """
    for key in ("step", "global_step"):
        value = metrics.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return int(value)
    return None


def short(value: Any) -> str:
    """A value as a line for people has it: six digits of a float; a list may have thousands of items, so not all."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " ".join(str(value)[: _TEXT + 1].split())
    return text if len(text) <= _TEXT else text[:_TEXT] + "..."


def _plain(value: Any, where: str, above: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _number(float(value))
    if isinstance(value, Mapping | list | tuple):
        if id(value) in above:
            raise ValueError(f"{where} contains itself: report values, not the object that holds them")
        above = (*above, id(value))
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r} of type {_kind(key)}: keys must be strings")
        return {str(key): _plain(item, f"{where}[{key!r}]", above) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]", above) for i, item in enumerate(value)]
    return _scalar(value, where)


def _number(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _scalar(value: Any, where: str) -> Any:
    module = type(value).__module__.partition(".")[0]
    name = type(value).__name__
    # numpy's scalars alone: what `.item()` costs on a tensor (a wait for the GPU) should stand in the user's code.
    if module == "numpy" and name != "ndarray" and hasattr(value, "item"):
        item = value.item()
        if type(item) in _PLAIN:
            return _plain(item, where, ())
    way_out = "report numbers, strings, bools, lists or dicts"
    if module in _TENSOR_MODULES or name == "ndarray" or (module != "numpy" and hasattr(value, "item")):
        way_out = "call .item() on a tensor of one element, or .tolist() on an array"
    raise TypeError(f"{where} is a {_kind(value)}, which cannot be reported: {way_out}")


def _safe(value: Any, above: tuple[int, ...]) -> Any:
    if id(value) in above or len(above) > 100:
        return "..."  # contains itself, or endless
    if isinstance(value, Mapping):
        return {str(key): _safe(item, (*above, id(value))) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(item, (*above, id(value))) for item in value]
    try:
        return _plain(value, "value", above)
    except TypeError:
        return repr(value)


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
