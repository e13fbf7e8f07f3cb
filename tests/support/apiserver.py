"""Requests to a real API server whose whole answer a test reads: status, body and warnings."""

from __future__ import annotations

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
    answer = bed.api.request(method, path, body, content_type=content_type)
    return Answer(answer.status, answer.json(), tuple(answer.headers.getlist("Warning")))


def merged(base: Any, patch: Any) -> Any:
    """Return a JSON merge patch applied: objects grow together, null removes."""
    if not (isinstance(base, dict) and isinstance(patch, dict)):
        return patch
    result = {**base, **{key: merged(base.get(key), value) for key, value in patch.items()}}
    return {key: value for key, value in result.items() if value is not None}
