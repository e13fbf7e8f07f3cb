"""What a fault proxy can do to a request, and which requests a rule is meant for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

_SIZE_LINE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """The proxy answers by itself; the server never hears of the request."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset before anything is forwarded."""


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """The server carries the request out, and its answer is lost.

    `how`: the client sees a reset, an orderly end without an answer, or silence until it gives up.
    """

    how: Literal["reset", "close", "hang"] = "reset"


@dataclass(frozen=True, slots=True)
class CutRequest:
    """Both connections are reset when this share of the request's body was forwarded."""

    share: float = 0.5


@dataclass(frozen=True, slots=True)
class CutAnswer:
    """The client's connection is reset when this share of the answer's body was passed on."""

    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing is forwarded and nothing is answered, until the client gives up or the proxy closes."""


@dataclass(frozen=True, slots=True)
class Latency:
    """The request waits before it is forwarded. May come together with another fault."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """All requests of the rule share a line of this capacity, up and down. May come together with another fault."""

    bytes_per_s: float


Fatal = Answer | Reset | LoseAnswer | CutRequest | CutAnswer | Hang
Fault = Fatal | Latency | Bandwidth


@dataclass(slots=True)
class Rule:
    """One fault and the requests that it befalls.

    Args:
        fault: What happens.
        method: HTTP method; empty: any.
        path: Regular expression, searched in the request's target with its query; empty: any.
        times: How many requests it befalls; None: all, until `remove`.
        skip: How many matching requests pass first.
        every: Of the matching requests after `skip`, the first and then each `every`-th.
    """

    fault: Fault
    method: str = ""
    path: str = ""
    times: int | None = 1
    skip: int = 0
    every: int = 1
    matched: int = 0
    hits: int = 0
    removed: bool = False
    # When the shared line of a Bandwidth is free again, by the clock of the proxy's loop.
    free_at: float = 0.0

    def remove(self) -> None:
        """End the fault. Requests that it holds already stay held."""
        self.removed = True

    def befalls(self, method: str, target: str) -> bool:
        """Whether this request is due; counts it."""
        if self.removed or (self.method and self.method != method) or not re.search(self.path, target):
            return False
        self.matched += 1
        if self.matched <= self.skip or (self.matched - self.skip - 1) % self.every:
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


def kept_bytes(share: float, length: int | None, sent: int, piece: int) -> int | None:
    """How much of a body's next piece passes before the cut; None: the cut is not in this piece.

    Args:
        share: Where to cut, as a share of the body.
        length: Bytes of the body. None: unknown; the first piece that is more than a chunk's size line is cut then.
        sent: Bytes that have passed.
        piece: Bytes of the next piece.
    """
    if length is None:
        return int(share * piece) if piece > _SIZE_LINE_BYTES else None
    cut = int(share * length)
    return cut - sent if sent + piece >= cut else None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What happens to one request: waits and limits add up, of the others the oldest rule wins."""

    fatal: Fatal | None = None
    latency_s: float = 0.0
    lines: tuple[Rule, ...] = ()


def choose(rules: Sequence[Rule], method: str, target: str) -> Chosen:
    """Count the request in every rule and say what happens to it."""
    fatal: Fatal | None = None
    latency_s = 0.0
    lines: list[Rule] = []
    for rule in rules:
        # A second fatal fault cannot happen to the same request: it keeps its count for the next one.
        if fatal is not None and not isinstance(rule.fault, (Latency, Bandwidth)):
            continue
        if not rule.befalls(method, target):
            continue
        if isinstance(rule.fault, Latency):
            latency_s += rule.fault.seconds
        elif isinstance(rule.fault, Bandwidth):
            lines.append(rule)
        else:
            fatal = rule.fault
    return Chosen(fatal, latency_s, tuple(lines))
