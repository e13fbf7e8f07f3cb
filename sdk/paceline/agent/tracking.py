"""Runs of experiment trackers: what rank 0 tells of them, and the look at their keys before it starts."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paceline import _contract as c
from paceline import _trackers
from paceline._python import SAFE_PATH
from paceline.agent import log, process
from paceline.agent.config import AgentConfig
from paceline.agent.errors import MissingCredentialsError

_RUNS = 8
_LONGEST = 400  # characters of a text that is told
_LOOK_S = 10.0


class Tracked:
    """What `/status`, the termination message and the run's directory tell of trackers."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], dict[str, str]] = {}
        self.problem: dict[str, str] | None = None

    @property
    def runs(self) -> list[dict[str, str]]:
        """kind, runId and url or path of each, in the order in which they began."""
        return list(self._runs.values())

    def told(self, message: Mapping[str, Any]) -> None:
        """Take note of one line of rank 0.

        Raises:
            KeyError: It is none.
        """
        kind = str(message["kind"])
        if "problem" in message:
            self._hindered(kind, message["problem"])
            return
        run = {"kind": kind, "runId": str(message["runId"])[:_LONGEST]}
        if url := message.get("url"):
            run["url"] = _trackers.without_secrets(str(url))[:_LONGEST]
        elif path := message.get("path"):
            run["path"] = str(path)[:_LONGEST]
        self._runs.pop((kind, run["runId"]), None)
        self._runs[kind, run["runId"]] = run
        while len(self._runs) > _RUNS:
            del self._runs[next(iter(self._runs))]

    def _hindered(self, kind: str, problem: Mapping[str, Any] | None) -> None:
        if problem is not None:
            self.problem = {
                "kind": kind,
                "reason": str(problem["reason"]),
                "message": str(problem["message"])[: 2 * _LONGEST],
            }
        elif self.problem is not None and self.problem["kind"] == kind:
            self.problem = None


async def look(config: AgentConfig, tracked: Tracked) -> None:
    """Run the preflight in the environment of rank 0, where the run names trackers.

    Args:
        tracked: Told what hinders a tracker and not the run.
    Raises:
        MissingCredentialsError: A key is missing or refused.
    """
    environ = config.environ
    if not environ.get(c.TRACKING) or _trackers.is_preflight_off(environ):
        return
    for problem in await _problems(config):
        if problem["reason"] == c.REASON_CREDENTIALS:
            raise MissingCredentialsError(f"{problem['kind']}: {problem['message']}")
        log.say(f"warning: {problem['message']}")
        tracked.told({"kind": problem["kind"], "problem": problem})


async def _problems(config: AgentConfig) -> list[Mapping[str, str]]:
    nothing = Path()
    looking = await asyncio.create_subprocess_exec(
        sys.executable,
        *SAFE_PATH,
        "-m",
        "paceline.tracking.preflight",
        "--json",
        env=process.environment(config, 0, socket=nothing, stop_page=nothing, resumed=""),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        told, said = await asyncio.wait_for(looking.communicate(), _LOOK_S)
    except asyncio.TimeoutError:
        log.say(f"warning: the look at the trackers did not end within {_LOOK_S:g} s; training begins without it")
        return []
    finally:
        if looking.returncode is None:
            looking.kill()
    try:
        problems: list[Mapping[str, str]] = json.loads(told)["problems"]
    except (ValueError, KeyError):
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        log.say(f"warning: the look at the trackers failed ({last[:_LONGEST]}); training begins without it")
        return []
    return problems
