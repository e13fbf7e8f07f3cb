"""One fault into one job: strike, wait, heal, and see that the history tells just what was done."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from e2e.chaos.arena import Arena
from e2e.chaos.faults import Fault
from e2e.chaos.timeline import Timeline, steps
from e2e.jobs import Workspace
from e2e.kube import wait_for

START_S = 180
RUN_S = 400
STRIKE_AT_STEP = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a fault cost. Seconds from the fault; None where the job did not restart."""

    fault: str
    causes: tuple[str, ...]
    restarts: int
    preemptions: int
    detected_s: float | None
    created_s: float | None
    first_step_s: float | None
    lost_steps: int | None
    fresh_start_s: float | None
    """From the job applied to its first step, for comparison."""


def run(arena: Arena, fault: Fault, job: list[dict[str, Any]], *, epochs: int) -> Outcome:
    """Start the job, strike once it has committed checkpoints, and wait until it has succeeded.

    Raises:
        AssertionError: The job ended otherwise, its history tells something else, the fault was noticed too late, or a
            committed checkpoint is gone.
    """
    space, name = arena.space, arena.job
    applied = time.time()
    space.submit(*job)
    space.wait_step(name, STRIKE_AT_STEP, timeout_s=START_S)
    with Timeline(arena.bed, space, name) as timeline:
        first = _first_step(space, name, 0)
        before = committed(space, name)
        struck = time.time()
        heal = fault.strike(arena)
        if heal is not None:
            time.sleep(max(0.0, fault.heal_after_s - (time.time() - struck)))
            heal()
        status = space.wait_phase(name, "Succeeded", timeout_s=RUN_S)
    history = status.get("history", [])
    _check(fault, status, history, space, name)
    noticed = _since(struck, timeline.seen.restarted)
    if fault.account != "none":
        assert noticed is not None, f"{fault.name}: no next attempt was seen"
        assert noticed <= fault.detected_within_s, f"{fault.name}: noticed after {noticed} s"
    assert before <= committed(space, name), "a committed checkpoint is lost"
    whole(space, name, epochs=epochs)
    again = _first_step(space, name, status["attempt"]) if status["attempt"] else None
    return Outcome(
        fault=fault.name,
        causes=tuple(entry["cause"] for entry in history),
        restarts=status["restarts"],
        preemptions=status.get("preemptions", 0),
        detected_s=noticed,
        created_s=_since(struck, timeline.seen.created),
        first_step_s=_since(struck, again),
        lost_steps=history[-1].get("lostSteps") if history else None,
        fresh_start_s=_since(applied, first),
    )


def _check(fault: Fault, status: dict[str, Any], history: list[dict[str, Any]], space: Workspace, name: str) -> None:
    told = f"{fault.name}: {json.dumps(history)[:2000]}"
    counts = {"restart": status["restarts"], "preemption": status.get("preemptions", 0)}
    if fault.account == "none":
        assert not history, told
        assert counts == {"restart": 0, "preemption": 0}, told
        return
    # One fault is one failure: nothing that followed from it is counted again.
    assert len(history) == 1, told
    assert history[0]["cause"] in fault.causes, told
    assert counts == {"restart": 0, "preemption": 0} | {fault.account: 1}, told
    if fault.rank is not None:
        assert history[0]["rank"] == fault.rank, told
    said = wait_for(
        "an event that tells the cause",
        lambda: [e for e in space.events(name) if e["reason"] == history[0]["cause"]],
        timeout_s=10,
        seen=lambda: [e["reason"] for e in space.events(name)],
    )
    assert said[0]["type"] == "Warning"


def committed(space: Workspace, name: str) -> set[str]:
    """Checkpoints of the run that have their commit."""
    prefix = f"runs/{name}/"
    return {
        key.removeprefix(prefix).partition("/")[0]
        for key in space.objects_on_storage()
        if key.startswith(prefix) and key.endswith("/.paceline.json")
    }


def whole(space: Workspace, name: str, *, epochs: int) -> None:
    """Every epoch was reported: those before the fault and those after it.

    Raises:
        AssertionError: One is missing.
    """
    seen = {json.loads(line)["epoch"] for line in space.read_object(f"runs/{name}/result.json").splitlines()}
    missing = set(range(min(seen), epochs + 1)) - seen
    assert not missing, f"epochs {sorted(missing)} of {name} were never reported"


def _first_step(space: Workspace, name: str, attempt: int) -> float | None:
    return next(iter(steps(space, f"{name}-{attempt}-0")), None)


def _since(begin: float, at: float | None) -> float | None:
    return None if at is None else round(at - begin, 2)
