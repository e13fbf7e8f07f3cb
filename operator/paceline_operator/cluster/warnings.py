"""Why a pod hangs before its containers start: failed mounts stand in its Events alone."""

from __future__ import annotations

from typing import Any

import msgspec

from paceline_operator.cluster.executor import Api


class _Event(msgspec.Struct, rename="camel"):
    type: str = ""
    reason: str = ""
    message: str = ""
    last_timestamp: str | None = None
    event_time: str | None = None


class _Events(msgspec.Struct):
    items: list[_Event] = []


_decode = msgspec.json.Decoder(_Events).decode
# The scheduler's words are in the pod's own condition, and are old once the pod has a node.
ELSEWHERE = frozenset({"FailedScheduling", "BackOff", "Failed"})


async def newest(api: Api, namespace: str, pod: str) -> str:
    """Return `<reason>: <message>` of the newest Warning about a pod; empty where there is none.

    Raises:
        ApiError: The server refused.
        UnreachableError: No answer.
    """
    selector = f"involvedObject.kind=Pod,involvedObject.name={pod},type=Warning"
    params: dict[str, Any] = {"fieldSelector": selector, "limit": "50"}
    answer = await api.request("GET", f"/api/v1/namespaces/{namespace}/events", params=params)
    found = [event for event in _decode(answer).items if event.reason not in ELSEWHERE]
    last = max(found, key=lambda event: event.last_timestamp or event.event_time or "", default=None)
    return f"{last.reason}: {last.message}" if last else ""
