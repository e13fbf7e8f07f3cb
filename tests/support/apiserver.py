"""Requests to a real API server whose whole answer a test reads: status, body and warnings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from e2e.cluster import Bed


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said."""

    status: int
    body: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def message(self) -> str:
        """The sentence of a refusal."""
        return str(self.body.get("message", ""))


def send(bed: Bed, method: str, path: str, body: object = None, content_type: str = "application/json") -> Answer:
    """Make one request as administrator."""
    connection = bed.api.connect()
    try:
        headers = {"Content-Type": content_type}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        warnings = tuple(response.headers.get_all("Warning") or ())
        return Answer(response.status, json.loads(response.read()), warnings)
    finally:
        connection.close()


def merged(base: Any, patch: Any) -> Any:
    """Return a JSON merge patch applied: objects grow together, null removes."""
    if not (isinstance(base, dict) and isinstance(patch, dict)):
        return patch
    result = {**base, **{key: merged(base.get(key), value) for key, value in patch.items()}}
    return {key: value for key, value in result.items() if value is not None}
