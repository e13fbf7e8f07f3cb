"""`TrainingFailedError`: what ended a run, as its exception."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class TrainingFailedError(RuntimeError):
    """A run failed. Its text has the failed rank, its exception and the traceback of the worker.

    Attributes:
        rank: The rank that failed first; None where no single one did (a store, a lost pod).
        type: Type of the worker's exception, such as `ValueError`; None without one.
        message: Its message, or what is known instead.
        traceback: The worker's traceback as text; None without one.
        exit_code: Of the process, 128 + signal number where a signal ended it; None when nothing was started.
        reason: In one word, as in the conditions of a TrainJob: `Error`, `StorageError` ...
        last_lines: End of the process's output.
        attempt: The attempt that failed; None when not known.
        path: The run's directory, for `Result.from_path`; set by `fit()`.
    """

    def __init__(
        self,
        message: str,
        *,
        rank: int | None = None,
        type: str | None = None,
        traceback: str | None = None,
        exit_code: int | None = None,
        reason: str = "Error",
        last_lines: tuple[str, ...] = (),
        attempt: int | None = None,
        path: str | None = None,
    ) -> None:
        self.message = message
        self.rank = rank
        self.type = type
        self.traceback = traceback
        self.exit_code = exit_code
        self.reason = reason
        self.last_lines = last_lines
        self.attempt = attempt
        self.path = path
        super().__init__(message)

    @classmethod
    def from_failure(cls, told: Mapping[str, Any]) -> TrainingFailedError:
        """From the `failure` of a termination message, of `/status`, or from `.paceline/error.json`."""
        return cls(
            str(told.get("message") or told.get("type") or "the run failed"),
            rank=_number(told.get("rank")),
            type=_text(told.get("type")),
            traceback=_text(told.get("traceback")),
            exit_code=_number(told.get("exitCode")),
            reason=str(told.get("reason") or "Error"),
            last_lines=tuple(str(line) for line in told.get("lastLines") or ()),
            attempt=_number(told.get("attempt")),
        )

    def __str__(self) -> str:
        who = f"rank {self.rank} failed" if self.rank is not None else f"the run failed ({self.reason})"
        what = self.message
        if self.type and not what.startswith(self.type):
            what = f"{self.type}: {what}"
        code = f" (exit code {self.exit_code})" if self.exit_code and not self.type else ""
        below = self.traceback or "\n".join(self.last_lines)
        text = f"{who}: {what}{code}" + (f"\n\n{below.rstrip()}" if below.strip() else "")
        return text + (f"\n\nWhat the run has made until then is in {self.path}" if self.path else "")

    def __reduce__(self) -> tuple[Any, ...]:
        told = {name: value for name, value in self.__dict__.items() if name != "message"}
        return _again, (self.message, told)


def _again(message: str, told: dict[str, Any]) -> TrainingFailedError:
    return TrainingFailedError(message, **told)


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
