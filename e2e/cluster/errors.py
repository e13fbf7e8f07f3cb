"""What a person is told when the bed cannot do what was asked."""

from __future__ import annotations


class BedError(RuntimeError):
    """The message is one sentence with the way out, or names the log to look at; a traceback adds nothing."""
