"""What all models of the resource share: camelCase names, and values that fit into the schema.

Descriptions are the docstrings below the fields: they become the descriptions of the CRD (`kubectl explain`) and the
reference page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Annotated, Any, TypeAlias

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

INT32_MAX = 2_147_483_647

# The same grammar as resource.Quantity of Kubernetes, without minus: nobody asks for less than nothing.
QUANTITY_PATTERN = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
INT_OR_STRING = "x-kubernetes-int-or-string"
# Names the rules of a type (paceline.api.rules) that the generator of the CRD puts in its place.
TYPE_RULE = "x-paceline-rule"
PRESERVE_UNKNOWN = "x-kubernetes-preserve-unknown-fields"

MAX_METRICS = 64
MAX_METRIC_TEXT = 256


class SpecModel(BaseModel):
    """Base of what the user writes: frozen, and a misspelt name is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


class StatusModel(BaseModel):
    """Base of what the operator writes: frozen; texts are cut to what the schema allows rather than refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


def _quantity(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        raise ValueError(f'write the quantity in quotes: "{value}"')
    return value


Quantity: TypeAlias = Annotated[
    str,
    BeforeValidator(_quantity),
    Field(pattern=QUANTITY_PATTERN, max_length=32, json_schema_extra={INT_OR_STRING: True, TYPE_RULE: "quantity"}),
]
"""An amount as Kubernetes writes it: `4`, `500m`, `16Gi`. An integer is taken and kept as text."""


Divisor: TypeAlias = Annotated[
    str,
    BeforeValidator(_quantity),
    Field(pattern=QUANTITY_PATTERN, max_length=32, json_schema_extra={INT_OR_STRING: True}),
]
"""A quantity inside a list, where a rule in CEL would cost too much: the pattern alone stands guard."""


def _cut(limit: int, *, keep_end: bool = False) -> Callable[[Any], Any]:
    def cut(value: Any) -> Any:
        if not isinstance(value, str) or len(value) <= limit:
            return value
        return "…" + value[1 - limit :] if keep_end else value[: limit - 1] + "…"

    return cut


Word: TypeAlias = Annotated[str, BeforeValidator(_cut(256)), Field(max_length=256)]
"""A name in the status, at most 256 characters."""
Uri: TypeAlias = Annotated[str, Field(max_length=2048)]
"""A place in storage in the status. Never cut: a shortened path names another place."""
Sentence: TypeAlias = Annotated[str, BeforeValidator(_cut(1024)), Field(max_length=1024)]
"""A message in the status, at most 1,024 characters; the end is cut."""
LastLines: TypeAlias = Annotated[str, BeforeValidator(_cut(2048, keep_end=True)), Field(max_length=2048)]
"""Output of a process in the status, at most 2,048 characters; the beginning is cut, since the cause stands last."""


def _seconds(value: datetime) -> datetime:
    return value.astimezone(timezone.utc).replace(microsecond=0)


def _milliseconds(value: datetime) -> datetime:
    value = value.astimezone(timezone.utc)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def _rfc3339(value: datetime) -> str:
    precision = "milliseconds" if value.microsecond else "seconds"
    return value.isoformat(timespec=precision).replace("+00:00", "Z")


_DATE_TIME = {"type": "string", "format": "date-time"}

# Seconds, as all times of Kubernetes: written and read back, a status equals itself and no write follows.
Time: TypeAlias = Annotated[
    AwareDatetime,
    AfterValidator(_seconds),
    PlainSerializer(_rfc3339, return_type=str),
    WithJsonSchema(_DATE_TIME),
]
# Where a second would matter: the end of a backoff of one second.
PreciseTime: TypeAlias = Annotated[
    AwareDatetime,
    AfterValidator(_milliseconds),
    PlainSerializer(_rfc3339, return_type=str),
    WithJsonSchema(_DATE_TIME),
]


def _metrics(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    plain: dict[str, bool | int | float | str] = {}
    for name, metric in value.items():
        if len(plain) == MAX_METRICS:
            break
        if isinstance(metric, float) and not math.isfinite(metric):
            # JSON has no NaN: the API server would refuse the whole status.
            plain[str(name)] = str(metric)
        elif isinstance(metric, str):
            plain[str(name)] = metric[:MAX_METRIC_TEXT]
        elif isinstance(metric, bool | int | float):
            plain[str(name)] = metric
    return plain


Metrics: TypeAlias = Annotated[
    dict[str, bool | int | float | str],
    BeforeValidator(_metrics),
    Field(max_length=MAX_METRICS, json_schema_extra={PRESERVE_UNKNOWN: True}),
]
"""Metrics as the status shows them: the first 64 plain values. Lists and dicts are in `result.json` alone."""
