"""What `fit()` shows: in a terminal a live table above which the output scrolls, else plain lines."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

_MARK = "[paceline] "


class Console(Protocol):
    """Used by the thread of `fit()` and by those that read the workers' output."""

    def say(self, text: str, *, urgent: bool = False) -> None:
        """A line of our own.

        Args:
            urgent: It tells of trouble.
        """
        ...

    def show(self, stream: int, text: str) -> None:
        """What the agent and the workers print, as it comes.

        Args:
            stream: 1: stdout, 2: stderr.
        """
        ...

    def attempt(self, number: int, directory: Path) -> None:
        """An attempt has begun; its agent tells about it in this directory."""
        ...

    def close(self) -> None:
        """The run is over."""
        ...


def choose(name: str, max_failures: int) -> Console:
    """Of a run on this machine: the live console where there can be one."""
    if not in_terminal():
        return Plain()
    from paceline.trainer._live import OfAgent

    return OfAgent(name, max_failures)


def in_terminal() -> bool:
    """Whether output goes to a terminal that can show a live table, and rich, which draws it, is installed."""
    return (
        sys.stdout.isatty()
        and sys.stderr.isatty()
        and os.environ.get("TERM") != "dumb"
        and find_spec("rich") is not None
    )


class Plain:
    """Lines as they come; the agent's own tell the reports, about one a second."""

    def say(self, text: str, *, urgent: bool = False) -> None:
        """On stderr, where the agent's lines are too."""
        self.show(2, f"{_MARK}{text}\n")

    def show(self, stream: int, text: str) -> None:
        """To where `print` would write now, also in a notebook."""
        target = sys.stdout if stream == 1 else sys.stderr
        try:
            target.write(text)
            target.flush()
        except (OSError, ValueError, AttributeError):
            pass  # closed, or none: the run goes on

    def attempt(self, number: int, directory: Path) -> None:
        """Nothing is asked of the agent."""

    def close(self) -> None:
        """Nothing is open."""
