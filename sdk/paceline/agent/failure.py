"""The first failure of an attempt, told so that its reader knows what to do."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from paceline import _contract as c
from paceline import _trackers

_TRACEBACK = "Traceback (most recent call last):"
_FRAME = '  File "'
# The line that ends a Python traceback: `ValueError: boom`, `torch.cuda.OutOfMemoryError: ...`, `KeyboardInterrupt`.
_EXCEPTION = re.compile(r"^((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)(?:: (.*))?$")


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed first. Keys of its JSON form: docs/design/0001-spine.md."""

    message: str
    reason: str = c.REASON_ERROR
    rank: int | None = None
    exit_code: int | None = None  # as a shell tells it: 128 + number when a signal ended the process
    signal: str | None = None
    type: str | None = None
    traceback: str | None = None
    last_lines: tuple[str, ...] = field(default=())
    time: str = ""

    def to_json(self) -> dict[str, Any]:
        """The keys of the wire."""
        told = asdict(self)
        return {_CAMEL.get(key, key): list(value) if key == "last_lines" else value for key, value in told.items()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Failure:
        """From `to_json`; unknown keys are dropped."""
        given: dict[str, Any] = {name: told.get(_CAMEL.get(name, name)) for name in cls.__dataclass_fields__}
        given["message"] = str(given["message"] or "")
        given["reason"] = str(given["reason"] or c.REASON_ERROR)
        given["last_lines"] = tuple(given["last_lines"] or ())
        given["time"] = str(given["time"] or "")
        return cls(**given)

    @property
    def sentence(self) -> str:
        """For the log: `rank 3 exited 137 (killed by SIGKILL): ...`."""
        if self.reason in (c.REASON_STALLED, c.REASON_AGENT_LOST):
            return self.message  # seen from outside: no process has ended
        who = "" if self.rank is None else f"rank {self.rank} "
        how = ""
        if self.rank is not None:
            how = f"was ended by {self.signal}: " if self.signal else f"exited {self.exit_code}: "
        what = f"{self.type}: " if self.type and not self.message.startswith(self.type) else ""
        return f"{who}{how}{what}{self.message}"

    def adds_lines_to(self, other: Failure) -> bool:
        """Whether it is that failure, with what the process itself had to say."""
        return bool(self.last_lines) and self == replace(other, last_lines=self.last_lines) and not other.last_lines


_CAMEL = {"exit_code": "exitCode", "last_lines": "lastLines"}


def from_exit(
    rank: int,
    returncode: int,
    *,
    time: str,
    exception: Mapping[str, Any] | None,
    last_lines: Sequence[str],
    refused: str = "",
    out_of_memory: bool = False,
) -> Failure:
    """Describe a process that ended with `returncode` (negative: a signal, as `subprocess` tells it).

    Args:
        exception: type, message and traceback as the SDK sent them, if it did.
        last_lines: End of the process's output; a Python traceback in it is used when the SDK sent none.
        refused: Why no checkpoint can be stored at all, where that is so. A process that ended with these words would
            do so again: the store is the reason.
        out_of_memory: The kernel has killed a process of the container for want of memory.
    """
    name = signal_name(-returncode) if returncode < 0 else None
    exit_code = 128 - returncode if returncode < 0 else returncode
    found = dict(exception) if exception else (find_exception(last_lines) if not name else None)
    out_of_memory = out_of_memory and name == "SIGKILL"
    if out_of_memory:
        found, message = None, "killed by the kernel: the container is out of memory"
    elif found:
        message = str(found.get("message") or found.get("type") or "")
    elif name == "SIGKILL":
        message = "killed by SIGKILL: out of memory, or killed from outside"
    elif name:
        message = f"ended by {name}"
    else:
        message = next((line.strip() for line in reversed(last_lines) if line.strip()), f"exited with code {exit_code}")
    reason = c.REASON_STORAGE if refused and message == refused else c.REASON_ERROR
    if exit_code == c.EXIT_INVALID_CONFIG and found and found.get("type") == c.TASK_ERROR:
        reason = c.REASON_CONFIG  # another attempt would read the same task in the same image
    if lacking := found and _for_want_of_credentials(found, message):
        reason, message = c.REASON_CREDENTIALS, lacking
    return Failure(
        message=message,
        reason=c.REASON_OOM if out_of_memory else reason,
        rank=rank,
        exit_code=exit_code,
        signal=name,
        type=found.get("type") if found else None,
        traceback=found.get("traceback") if found else None,
        last_lines=tuple(last_lines),
        time=time,
    )


def _for_want_of_credentials(found: Mapping[str, Any], message: str) -> str:
    """The words of a tracker that has no key or refuses it, and the way out; empty: it is another failure.

    The script may have used the tracker's library by itself; started again, it would end in the same way.
    """
    kind = str(found.get("type") or "")
    if kind == _trackers.ERROR:
        return message
    about = _trackers.lacking(kind, message, str(found.get("traceback") or ""))
    return _trackers.sentence(about, message) if about else ""


def with_stacks(stalled: Failure, last_lines: Sequence[str]) -> Failure:
    """A stall, with what Python's fault handler wrote of the process that hangs."""
    # The handler ends with the names of all native modules: kilobytes that say nothing.
    told = (line for line in last_lines if not line.startswith("Extension modules: "))
    return replace(stalled, last_lines=tuple(told))


def find_exception(lines: Sequence[str]) -> dict[str, str] | None:
    """Type, message and text of the last Python traceback in `lines`, or None. Its beginning may be cut off."""
    starts = [i for i, line in enumerate(lines) if line.strip() == _TRACEBACK]
    # A deep one is longer than what is kept of the output.
    starts = starts or [i for i, line in enumerate(lines) if line.startswith(_FRAME)][:1]
    if not starts:
        return None
    block = lines[starts[-1] :]
    for i, line in enumerate(block[1:], start=1):
        if line[:1].isspace() or not line:
            continue
        match = _EXCEPTION.match(line.rstrip())
        if match is None:
            return None
        return {
            "type": match[1].rpartition(".")[2],
            "message": match[2] or match[1],
            "traceback": "\n".join(block[: i + 1]),
        }
    return None


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; `signal 99` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
