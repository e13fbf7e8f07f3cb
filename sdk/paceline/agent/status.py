"""`/status` and the termination message, as docs/design/0001-spine.md has them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from paceline import _contract as c
from paceline.agent.beat import RankState
from paceline.agent.clock import rfc3339
from paceline.agent.config import AgentConfig
from paceline.agent.failure import Failure
from paceline.agent.stragglers import Straggler

_LONGEST_TEXT = 1024


def status(
    config: AgentConfig,
    state: str,
    *,
    ranks: Iterable[RankState],
    story: Mapping[str, Any],
    failure: Failure | None,
    uploads: Mapping[str, float] | None = None,
    straggler: Straggler | None = None,
    leaving: bool = False,
    ends_in_s: float | None = None,
    tracking_problem: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The body of `/status`.

    Args:
        story: progress, checkpoint, bestCheckpoint, resumedFrom and tracking, where known.
        uploads: What is on its way into the store, in numbers.
        straggler: The rank that holds the others up; only the lead knows.
        leaving: The group was told to stop.
        ends_in_s: Where the attempt ends early: seconds until its grace is over.
        tracking_problem: What keeps an experiment tracker from working; training goes on.
    """
    return {
        "version": 1,
        "job": config.job,
        "runId": config.run_id,
        "attempt": config.attempt,
        "nodeRank": config.node_rank,
        "worldSize": config.world_size,
        "state": state,
        "progress": {},
        "checkpoint": {},
        "bestCheckpoint": {},
        "resumedFrom": {},
        "tracking": [],
        **story,
        "trackingProblem": dict(tracking_problem) if tracking_problem else None,
        "ranks": [
            {
                "rank": rank.rank,
                "nodeRank": rank.rank // config.local_world_size,
                "state": rank.state,
                "step": rank.step,
                "time": None if rank.time is None else rfc3339(rank.time),
                "exitCode": rank.exit_code,
            }
            for rank in sorted(ranks, key=lambda rank: rank.rank)
        ],
        "failure": failure.to_json() if failure else None,
        "leaving": leaving,
        "endsInSeconds": ends_in_s,
        "uploads": dict(uploads or {}),
        "straggler": {"rank": straggler.rank, "behindSeconds": straggler.behind_s} if straggler else None,
    }


def slowest(ranks: Iterable[RankState]) -> int | None:
    """The rank with the lowest step; None before every rank has told one, or when all are at the same."""
    steps = {rank.rank: rank.step for rank in ranks}
    known = [step for step in steps.values() if step is not None]
    if not known or len(known) < len(steps) or min(known) == max(known):
        return None
    return min(steps, key=lambda rank: (steps[rank] or 0, rank))


def termination_message(
    outcome: str,
    exit_code: int,
    *,
    failure: Failure | None,
    story: Mapping[str, Any],
    limit_bytes: int = c.TERMINATION_MESSAGE_BYTES,
) -> bytes:
    """JSON of at most `limit_bytes`: what does not fit is cut, the oldest lines first, and it stays valid."""
    told: dict[str, Any] = {
        "version": 1,
        "outcome": outcome,
        "exitCode": exit_code,
        "failure": failure.to_json() if failure else None,
        "progress": {},
        "checkpoint": {},
        "bestCheckpoint": {},
        "resumedFrom": {},
        **story,
    }
    for shrink in _shrinking(told):
        data = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
        if len(data) <= limit_bytes:
            return data
        shrink()
    told = {"version": 1, "outcome": outcome, "exitCode": exit_code, "failure": None}
    return json.dumps(told, separators=(",", ":")).encode()


def _shrinking(told: dict[str, Any]) -> Any:
    """Steps that each take something away, the least useful first; the last of them leaves only what is short."""
    failure = told["failure"] or {}

    def cut_line() -> None:
        failure["lastLines"] = failure["lastLines"][1:]

    def shorten(key: str, keep: int) -> None:
        text = failure.get(key)
        if text and len(text) > keep:
            # The end of a traceback tells the error; a message tells it at its beginning.
            failure[key] = "..." + text[-keep:] if key == "traceback" else text[:keep] + "..."

    def drop_metrics(part: str) -> None:
        if told.get(part):
            told[part] = {**told[part], "metrics": {}}

    if failure:
        while len(failure.get("lastLines") or ()) > 5:
            yield cut_line
        for keep in (2048, 1024, 512):
            yield lambda keep=keep: shorten("traceback", keep)
        yield lambda: shorten("message", _LONGEST_TEXT)
        while failure.get("lastLines"):
            yield cut_line
    for part in ("resumedFrom", "bestCheckpoint", "checkpoint", "progress"):
        yield lambda part=part: drop_metrics(part)
    while told.get("tracking"):
        yield told["tracking"].pop
    if failure:
        yield lambda: shorten("traceback", 100)
        yield lambda: shorten("message", 100)
    yield lambda: None
