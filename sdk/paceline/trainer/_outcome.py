"""How an attempt on this machine ended, and what follows. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from paceline import _contract as c
from paceline.agent.failure import Failure, signal_name
from paceline.policy import restart
from paceline.policy.backoff import PastFailure

_INITIAL_S = 1.0
_MAX_S = 300.0
# Whatever fails so fails again; and one that was fenced would fence the run that goes on, which would fence it.
_FINAL = {c.REASON_STORAGE, c.REASON_CONFIG, c.REASON_COMMAND, c.REASON_FENCED, c.REASON_CREDENTIALS}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt, as its agent told it."""

    kind: Literal["succeeded", "failed", "terminated"]
    failure: Failure | None = None  # of a failed one
    checkpoint: Mapping[str, Any] = field(default_factory=dict)  # the newest one; empty: none
    step: int | None = None
    told: bool = True  # by the agent; False: it was killed, and this is what was seen from outside


def read(message: bytes | None, returncode: int) -> Outcome:
    """What an agent left.

    Args:
        message: Its termination message; None: it left none.
        returncode: As `subprocess` tells it; negative: ended by that signal.
    """
    try:
        told = json.loads(message or b"")
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get("outcome") not in ("succeeded", "failed", "terminated"):
        return Outcome("failed", _silent(returncode), told=False)
    failure = Failure.from_json(told["failure"]) if told.get("failure") else None
    kind = told["outcome"]
    if kind == "failed" and failure is None:
        failure = _silent(returncode)
    step = (told.get("progress") or {}).get("step")
    return Outcome(kind, failure, told.get("checkpoint") or {}, step)


def past(outcome: Outcome, at_s: float) -> PastFailure:
    """What the history keeps of a failed attempt."""
    saved = outcome.checkpoint.get("step")
    lost = None if outcome.step is None else outcome.step - int(saved or 0)
    index = outcome.checkpoint.get("index")
    return PastFailure(at_s, None if index is None else int(index), lost)


def next_try(outcome: Outcome, failures: Sequence[PastFailure], *, max_failures: int) -> restart.Restart | None:
    """Whether the run starts again; None: it is over.

    Args:
        outcome: Of the attempt that failed.
        failures: All of the run so far, this one last.
        max_failures: How many restarts there may be; -1: any number.
    """
    assert outcome.failure is not None
    if outcome.failure.reason in _FINAL:
        return None
    limits = restart.Limits(restarts=max_failures, preemptions=max_failures, initial_s=_INITIAL_S, max_s=_MAX_S)
    decided = restart.decide(failures, account="restart", spent=len(failures) - 1, limits=limits)
    return decided if isinstance(decided, restart.Restart) else None


def sentence(outcome: Outcome, *, attempt: int, max_failures: int, after_s: float) -> str:
    """What to say of a failure that is followed by a restart."""
    assert outcome.failure is not None
    since = "from the start"
    if outcome.checkpoint:
        since = f"from step {outcome.checkpoint.get('step')} ({str(outcome.checkpoint.get('path')).rpartition('/')[2]})"
    of = "" if max_failures < 0 else f" of {max_failures}"
    wait = f" in {after_s:.0f} s" if after_s else ""
    # The agent has told the failure itself, if it still could.
    what = "" if outcome.told else f"{outcome.failure.sentence}; "
    return f"{what}all workers start again{wait} {since}: restart {attempt + 1}{of}"


def _silent(returncode: int) -> Failure:
    if returncode < 0:
        name = signal_name(-returncode)
        return Failure(
            f"the agent of the run was ended by {name}",
            reason=c.REASON_AGENT_LOST,
            exit_code=128 - returncode,
            signal=name,
        )
    return Failure(
        f"the agent of the run ended with code {returncode} and left no word",
        reason=c.REASON_AGENT_LOST,
        exit_code=returncode,
    )
