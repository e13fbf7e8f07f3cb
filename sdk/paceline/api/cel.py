"""A rule in CEL and the sentence that the API server says when it does not hold.

The sentence is written once, with `{self.count}` where a value belongs, or `{number <- self.count / self.perPod}` where
the expression is no name to read. From it come the expression that fills the values in, and the plain text for the
places where there are none: a value of several lines, and the reference page.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_PLACE = re.compile(r"\{(?:([^{}]*?) <- )?([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold (CEL), the sentence when it does not, and the field below that the error points at."""

    holds: str
    message: str
    field: str = ""

    def to_schema(self) -> dict[str, Any]:
        """Return the entry of x-kubernetes-validations."""
        schema = {"rule": self.holds, "message": _PLACE.sub(_name, self.message)}
        if _PLACE.search(self.message):
            schema["messageExpression"] = _expression(self.message)
        if self.field:
            schema["fieldPath"] = f".{self.field}"
        return schema


def _name(place: re.Match[str]) -> str:
    """What stands for a value that the API server cannot show: in a sentence of several lines, and in the reference."""
    name = place[1] or re.sub(r"^(oldSelf|self)\b\.?", "", place[2])
    return f"<{name or 'value'}>"


def _expression(message: str) -> str:
    # One format() and no "+": the API server bounds the cost of "+" by the longest text that string() could give.
    text = _PLACE.sub("%s", message.replace("%", "%%"))
    values = ", ".join(place[2] for place in _PLACE.finditer(message))
    return f"{json.dumps(text, ensure_ascii=False)}.format([{values}])"
