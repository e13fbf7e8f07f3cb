"""The attempt before this one may still be storing its last checkpoint: let it finish before it is fenced.

A group that was told to stop saves for the last time within its grace period, and the operator does not wait for that:
the pods of the next attempt may be up before it is done. What they would resume from is what is being stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from paceline.agent import log, web

_LOOK_S = 0.2
_ANSWER_S = 2.0  # a lead on a lost node does not answer, and nobody shall wait for it


async def await_last_checkpoint(lead: tuple[str, int] | None) -> None:
    """Return when the previous attempt has nothing more to store, is gone, or has used up its grace period.

    Args:
        lead: Where its lead listens; None: there is no attempt before, or it is not known where.
    """
    said = False
    while lead is not None and (told := await _status(*lead)) is not None and storing(told):
        if not said:
            said = True
            ends_in_s = told["endsInSeconds"]
            log.say(f"the attempt before this one is storing its last checkpoint: waiting for up to {ends_in_s:.0f} s")
        await asyncio.sleep(_LOOK_S)


def storing(told: Mapping[str, Any]) -> bool:
    """Whether a lead that gives this status is ending, and is about to store something. Pure."""
    if told.get("state") not in ("running", "finishing") or not (told.get("endsInSeconds") or 0) > 0:
        return False
    waiting = (told.get("uploads") or {}).get("pendingCheckpoints") or 0
    # Processes that still run save now; of those that have ended, what they gave counts.
    return waiting > 0 or (told["state"] == "running" and told.get("leaving") is True)


async def _status(host: str, port: int) -> Mapping[str, Any] | None:
    try:
        told = await web.get(host, port, "/status", timeout_s=_ANSWER_S)
    except OSError:
        return None
    return told if isinstance(told, Mapping) else None
