"""The JSON merge patch (RFC 7386) that makes one object of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the patch from `old` to `new`; empty where they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := diff(before, value):
                patch[key] = inner
        elif value != before or key not in old:
            patch[key] = value
    return patch
