"""What is wrong with a spec, said before it reaches the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from paceline.api import TrainJobSpec, check
from paceline.api.base import QUANTITY_PATTERN

_MAX_VALUE = 60


def problems(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each problem: the field, its value and the way out."""
    try:
        read = TrainJobSpec.model_validate(spec)
    except ValidationError as error:
        yield from (sentence(dict(found)) for found in error.errors())
        return
    yield from map(str, check(read))


def sentence(error: Mapping[str, Any]) -> str:
    """Field, value and way out of one error of the models."""
    place = "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        return f"{place}: is missing: set it"
    if kind == "extra_forbidden":
        parent = place.rpartition(".")[0]
        known = _fields(error["loc"])
        return f"{place}: no such field (value {short(error['input'])}): is it misspelt? {parent} has {known}"
    if kind == "literal_error":
        return f"{place}: is {short(error['input'])}: write {context['expected']}"
    if kind == "string_pattern_mismatch" and context.get("pattern") == QUANTITY_PATTERN:
        return f"{place}: is {short(error['input'])}: write an amount such as 4, 500m or 16Gi"
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return f"{place}: is {short(error['input'])}: {message}"


def _fields(place: tuple[Any, ...]) -> str:
    """The fields that stand beside a misspelt one."""
    schema: Any = TrainJobSpec.model_json_schema(by_alias=True)
    here = schema
    for part in place[:-1]:
        here = here.get("items", {}) if isinstance(part, int) else here.get("properties", {}).get(part, {})
        options = [here, *here.get("anyOf", []), *here.get("allOf", [])]
        reference = next((option["$ref"] for option in options if "$ref" in option), None)
        if reference:
            here = schema["$defs"][reference.rsplit("/", 1)[-1]]
    return ", ".join(here.get("properties", {})) or "none of this name"


def short(value: Any) -> str:
    """Return a value as messages show it."""
    text = repr(value)
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1] + "…"
