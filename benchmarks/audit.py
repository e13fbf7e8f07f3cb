"""What the API server saw: its audit log as rows with microsecond times.

Both sides of a comparison are timed by the server's own clock, from its own log: no client's bookkeeping counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True)
class Request:
    """One finished request."""

    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    user_agent: str
    code: int
    received: float
    """Seconds since the epoch at which the server began with it."""
    finished: float
    """Seconds since the epoch at which the response was complete."""


class AuditLog:
    """Reads what was appended to an audit log since the last reading."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size
        self._rest = b""

    def new(self) -> list[Request]:
        """Return the requests that ended since the last call (or since this reader was made)."""
        return requests(self.lines())

    def lines(self) -> list[bytes]:
        """Return the same as they stand in the log: to read them while something is measured costs what it runs on."""
        with self._path.open("rb") as log:
            log.seek(self._offset)
            data = log.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


def requests(lines: list[bytes]) -> list[Request]:
    """Read lines of the log; those of requests that have not ended are left out."""
    found = (_request(json.loads(line)) for line in lines if line)
    return [request for request in found if request is not None]


def _request(entry: dict[str, object]) -> Request | None:
    if entry.get("stage") != "ResponseComplete":
        return None
    ref = entry.get("objectRef") or {}
    status = entry.get("responseStatus") or {}
    assert isinstance(ref, dict)
    assert isinstance(status, dict)
    return Request(
        verb=str(entry["verb"]),
        resource=str(ref.get("resource", "")),
        subresource=str(ref.get("subresource", "")),
        namespace=str(ref.get("namespace", "")),
        name=str(ref.get("name", "")),
        user_agent=str(entry.get("userAgent", "")),
        code=int(status.get("code", 0)),
        received=_seconds(str(entry["requestReceivedTimestamp"])),
        finished=_seconds(str(entry["stageTimestamp"])),
    )


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
