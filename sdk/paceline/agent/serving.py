"""What an agent answers over HTTP: its status and figures, and the beats and pulses of the other pods."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from paceline.agent import prometheus, pulse, web
from paceline.agent.beat import Beat
from paceline.agent.config import AgentConfig
from paceline.agent.lead import Lead

PORT_FILE = "port"
_NOT_THE_LEAD = web.Answer.of({"error": "this agent is not the lead"}, 404)


def routes(
    config: AgentConfig,
    lead: Lead | None,
    *,
    status: Callable[[], Mapping[str, Any]],
    figures: Callable[[], Mapping[str, float]],
) -> dict[tuple[str, str], Callable[[bytes], web.Answer]]:
    """(method, path) -> route, for the agent's event loop.

    Args:
        lead: None in every pod but the first.
        figures: Of this pod alone.
    """

    def beat(body: bytes) -> web.Answer:
        return _beat(config, lead, body)

    return {
        ("GET", "/status"): lambda _: web.Answer.of(status()),
        ("GET", "/metrics"): lambda _: prometheus.render(status(), figures()),
        ("GET", "/healthz"): lambda _: web.Answer(b"ok\n", content_type="text/plain"),
        ("POST", "/v1/beat"): beat,
    }


def routes_at_once(config: AgentConfig, lead: Lead | None) -> dict[tuple[str, str], Callable[[bytes], web.Answer]]:
    """(method, path) -> route, for any thread."""

    def answer(body: bytes) -> web.Answer:
        return _pulse(config, lead, body)

    return {("POST", pulse.PATH): answer}


def tell_port(directory: Path, port: int) -> None:
    """Write the port into `<agent's directory>/port`, whole or not at all, for who started this agent with port 0.

    Raises:
        OSError: The directory cannot be written to.
    """
    new = directory / ".port"
    new.write_text(str(port), encoding="ascii")
    new.replace(directory / PORT_FILE)


def _pulse(config: AgentConfig, lead: Lead | None, body: bytes) -> web.Answer:
    if lead is None:
        return _NOT_THE_LEAD
    try:
        told = json.loads(body)
        if (told["runId"], told["attempt"]) != (config.run_id, config.attempt):
            return web.Answer.of({"error": f"this is attempt {config.attempt} of another run"}, 409)
        lead.felt(int(told["nodeRank"]))
    except (KeyError, TypeError, ValueError) as e:
        return web.Answer.of({"error": f"not a pulse: {type(e).__name__}: {e}"}, 400)
    return web.Answer.of({})


def _beat(config: AgentConfig, lead: Lead | None, body: bytes) -> web.Answer:
    if lead is None:
        return _NOT_THE_LEAD
    try:
        beat = Beat.from_json(json.loads(body))
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        return web.Answer.of({"error": f"not a beat: {type(e).__name__}: {e}"}, 400)
    if (beat.run_id, beat.attempt) != (config.run_id, config.attempt):
        return web.Answer.of({"error": f"this is attempt {config.attempt} of another run"}, 409)
    if not 0 < beat.node_rank < config.nodes:
        return web.Answer.of({"error": f"no pod {beat.node_rank} in this job"}, 400)
    return web.Answer.of(lead.exchange(beat).to_json())
