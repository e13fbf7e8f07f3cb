"""The broken variants of the protocol that live in the training process; see crash_broken."""

from __future__ import annotations

import threading
import time
from typing import Any


def install(name: str) -> None:
    """Break this training process as the variant says."""
    if name == "report-returns-before-the-agent-owns-the-files":
        _return_early()
    elif name == "wait-returns-before-the-commit":
        _do_not_wait()


def _return_early() -> None:
    from paceline.train import _client

    ask = _client.Client.ask

    def later(self: _client.Client, line: str) -> dict[str, Any]:
        if '"c":' not in line:
            return ask(self, line)

        def work() -> None:
            time.sleep(0.05)
            ask(self, line)

        threading.Thread(target=work, daemon=True).start()
        return {"round": 0}

    _client.Client.ask = later  # type: ignore[method-assign]


def _do_not_wait() -> None:
    from paceline import train

    report = train.report

    def hasty(metrics: dict[str, Any], **options: Any) -> None:
        report(metrics, **{**options, "wait": False})

    train.report = hasty  # type: ignore[assignment]
