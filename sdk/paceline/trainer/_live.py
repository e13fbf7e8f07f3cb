"""The live console: a table of a run at the bottom of the terminal, above which the output of its workers scrolls."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.live
from rich.console import Console as Terminal
from rich.console import Group
from rich.table import Table
from rich.text import Text

from paceline._metrics import flat, short
from paceline.agent.serving import PORT_FILE
from paceline.trainer._surroundings import LOOPBACK

_LOOK_S = 0.5
_ANSWER_S = 2.0
_RANKS = 16
_METRICS = 8
# The agent's lines of single reports: the table has them.
_REPORT = "[paceline] step "


class Live:
    """A `Console` for a terminal."""

    def __init__(self, draw: Callable[[float], Group], *, terminal: Terminal | None = None) -> None:
        """Show a table.

        Args:
            draw: Makes it, called a few times a second with the seconds since now.
            terminal: None: stdout.
        """
        self._draw = draw
        self._began = time.monotonic()
        self._partial = {1: "", 2: ""}
        self._lock = threading.Lock()
        self._live = rich.live.Live(
            console=terminal or Terminal(),
            get_renderable=lambda: self._draw(time.monotonic() - self._began),
            refresh_per_second=4,
            transient=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def say(self, text: str, *, urgent: bool = False) -> None:
        """A line above the table."""
        self._print(Text(f"[paceline] {text}", style="yellow" if urgent else "cyan"))

    def show(self, stream: int, text: str) -> None:
        """Whole lines above the table; of a progress bar, its last state."""
        with self._lock:
            *lines, self._partial[stream] = (self._partial[stream] + text).split("\n")
        for line in lines:
            if not line.startswith(_REPORT):
                self._print(Text.from_ansi(line.rstrip("\r").rpartition("\r")[2]))

    def close(self) -> None:
        """Leave the last table where it is."""
        for stream, rest in self._partial.items():
            if rest:
                self.show(stream, "\n")
        self._live.stop()

    def _print(self, line: Text) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._live.console.print(line, soft_wrap=True)


class OfAgent(Live):
    """Of a run on this machine, whose agent is asked how it stands."""

    def __init__(self, name: str, max_failures: int, *, terminal: Terminal | None = None) -> None:
        """Show the table.

        Args:
            name: The run's.
            max_failures: Restarts that are allowed; -1: any number.
            terminal: As for `Live`.
        """
        self._attempt = 0
        self._agent: Path | None = None
        self._status: dict[str, Any] = {}
        self._closing = threading.Event()
        super().__init__(
            lambda seconds: table(
                self._status, name=name, restarts=self._attempt, max_failures=max_failures, seconds=seconds
            ),
            terminal=terminal,
        )
        self._asking = threading.Thread(target=self._ask, name="paceline-console", daemon=True)
        self._asking.start()

    def attempt(self, number: int, directory: Path) -> None:
        """The table tells about this one."""
        self._attempt, self._agent, self._status = number, directory, {}

    def close(self) -> None:
        """Leave the last table where it is."""
        self._closing.set()
        self._asking.join(_ANSWER_S)
        super().close()

    def _ask(self) -> None:
        while not self._closing.wait(_LOOK_S):
            if self._agent is not None and (told := _status(self._agent)) is not None:
                self._status = told


def table(status: Mapping[str, Any], *, name: str, restarts: int, max_failures: int, seconds: float) -> Group:
    """The table of a run.

    Args:
        status: What the agent answered last; empty: nothing yet. Without `ranks`: of a run on a cluster, whose status
            has `workers`, a text, and the step in `progress`.
        name: The run's.
        restarts: So far.
        max_failures: Restarts that are allowed; -1: any number.
        seconds: Since the run began.
    """
    clock = f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"
    of = "" if max_failures < 0 else f" of {max_failures}"
    title = f"{name}   {status.get('state', 'starting')}   {clock}   restarts {restarts}{of}"
    lines: list[Any] = [Text(title, style="bold")]
    if "workers" not in status:
        lines += _ranks(list(status.get("ranks") or ()))
    return Group(*lines, *[Text(line, no_wrap=True, overflow="ellipsis") for line in _below(status)])


def _ranks(told: Sequence[Mapping[str, Any]]) -> list[Any]:
    ranks = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in ("rank", "state", "step", "last report"):
        ranks.add_column(column, justify="right" if column in ("rank", "step") else "left")
    for rank in told[:_RANKS]:
        ranks.add_row(
            str(rank["rank"]),
            Text(str(rank["state"]), style="red" if rank["state"] == "failed" else ""),
            "" if rank.get("step") is None else str(rank["step"]),
            str(rank.get("time") or "").partition("T")[2].removesuffix("Z"),
        )
    more = [Text(f"and {len(told) - _RANKS} more workers", style="dim")] if len(told) > _RANKS else []
    return [ranks, *more]


def _below(status: Mapping[str, Any]) -> list[str]:
    lines = []
    progress = status.get("progress") or {}
    if workers := status.get("workers"):
        step = "" if progress.get("step") is None else f"   step {progress['step']}"
        lines.append(f"workers      {workers}{step}")
    if metrics := progress.get("metrics"):
        shown = [f"{name} {short(value)}" for name, value in flat(metrics)]
        more = f"   and {len(shown) - _METRICS} more" if len(shown) > _METRICS else ""
        lines.append("metrics      " + "   ".join(shown[:_METRICS]) + more)
    if checkpoint := status.get("checkpoint"):
        lines.append(f"checkpoint   {str(checkpoint.get('path')).rpartition('/')[2]} (step {checkpoint.get('step')})")
    return lines


def _status(agent: Path) -> dict[str, Any] | None:
    try:
        port = int((agent / PORT_FILE).read_text())
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_ANSWER_S)
        try:
            connection.request("GET", "/status")
            told = json.loads(connection.getresponse().read())
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return told if isinstance(told, dict) else None
