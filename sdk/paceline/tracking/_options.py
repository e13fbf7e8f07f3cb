"""What `spec.tracking` says, as `PACELINE_TRACKING` brings it; and the libraries themselves."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from paceline import _contract as c
from paceline import _trackers


def read(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """All of `PACELINE_TRACKING`; empty where there is none.

    Raises:
        ValueError: It is no JSON object, or a part of it is none.
    """
    text = (os.environ if environ is None else environ).get(c.TRACKING, "")
    if not text:
        return {}
    try:
        told = json.loads(text)
    except ValueError as e:
        raise ValueError(f"{c.TRACKING} is no JSON: {e}") from None
    if not isinstance(told, dict):
        raise ValueError(f"{c.TRACKING} is {text[:80]!r}: it must be a JSON object")
    for kind in _trackers.KINDS:
        if not isinstance(told.get(kind, {}), dict):
            raise ValueError(f"{c.TRACKING}: {kind} is {told[kind]!r}: it must be an object, such as {{}}")
    return told


def of(kind: str) -> dict[str, Any]:
    """What it says of one tracker; empty where it does not name it, or cannot be read."""
    try:
        found = read().get(kind, {})
    except ValueError:
        return {}
    return dict(found)


def kinds(told: Mapping[str, Any]) -> list[str]:
    """The trackers that it names and that something is logged to: TensorBoard's events are written by the agent."""
    return [kind for kind in _trackers.KINDS if kind in told and kind != _trackers.TENSORBOARD]


def library(kind: str) -> Any:
    """Import a tracker's library.

    Raises:
        ImportError: It is not installed; the message names what to install.
    """
    name = _trackers.MODULES[kind]
    try:
        return import_module(name)
    except ModuleNotFoundError as e:
        if e.name != name:
            raise
        raise ImportError(missing(kind), name=name) from None


def missing(kind: str) -> str:
    """What to say where the library is not installed."""
    package = _trackers.PACKAGES[kind]
    return (
        f"{_trackers.NAMES[kind]} needs the package {package}, which is not installed here: pip install {package}, or"
        " pip install 'paceline[tracking]' for all trackers; on a cluster it belongs into the image of the job"
    )


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(f"[paceline] {text}", file=sys.stderr, flush=True)  # noqa: T201
