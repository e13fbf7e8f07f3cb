"""`podTemplate` over the pod that Paceline made: maps by key, lists of named things by name, other lists appended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# By which field the elements of a list are the same thing, as in the strategic merge of core/v1.
KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "resourceClaims": "name",
}
APPENDED = frozenset({"tolerations", "topologySpreadConstraints", "envFrom", "readinessGates"})


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` on top. A null in `over` removes the field."""
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        elif isinstance(value, list) and isinstance(merged.get(key), list):
            merged[key] = _lists(key, merged[key], value)
        else:
            merged[key] = value
    return merged


def _lists(key: str, base: list[Any], over: list[Any]) -> list[Any]:
    if key in APPENDED:
        # The user's first: of two tolerations for the same taint the first with a time counts.
        return [*over, *(item for item in base if not _same_taint(item, over))] if key == "tolerations" else base + over
    if key not in KEYS:
        return over
    by = KEYS[key]
    places = {item.get(by): place for place, item in enumerate(base)}
    merged = list(base)
    for item in over:
        place = places.get(item.get(by))
        if place is None:
            merged.append(item)
        else:
            merged[place] = _replace_source(key, merged[place], item)
    return merged


def _replace_source(key: str, base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A volume or variable has one source: a new one replaces it rather than standing beside it."""
    if key in ("volumes", "env"):
        return dict(over)
    return merge(base, over)


def _same_taint(item: Mapping[str, Any], over: list[Any]) -> bool:
    return any(other.get("key") == item.get("key") for other in over)
