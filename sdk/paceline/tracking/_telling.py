"""Tell the agent which runs a process has at its trackers, and what hinders them. Nothing is waited for."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from paceline import _trackers
from paceline.train import _client

_TEXT_LIMIT = 2000


def run(kind: str, run_id: str, *, url: str | None = None, path: str | None = None) -> None:
    """This process logs to a run. A problem that was told of this tracker is over.

    Args:
        kind: Of the tracker.
        run_id: The tracker's own id of the run.
        url: Its page.
        path: Where its files lie, where there is no page.
    """
    told: dict[str, Any] = {"t": "tracking", "kind": kind, "runId": run_id}
    if url:
        told["url"] = _trackers.without_secrets(url)
    elif path:
        told["path"] = _trackers.without_secrets(path) if "://" in path else path
    _send(told)
    _send({"t": "tracking", "kind": kind, "problem": None})


def problem(kind: str, reason: str, message: str) -> None:
    """Something keeps a tracker from working; training goes on.

    Args:
        kind: Of the tracker.
        reason: In one word.
        message: For people.
    """
    _send({"t": "tracking", "kind": kind, "problem": {"reason": reason, "message": message[:_TEXT_LIMIT]}})


def _send(told: dict[str, Any]) -> None:
    client = _client.client()
    if client is not None:
        with contextlib.suppress(RuntimeError):  # the pod is ending
            client.send(json.dumps(told))
