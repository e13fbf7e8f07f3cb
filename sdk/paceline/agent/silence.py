"""Is a pod gone without a word? Pure."""

from __future__ import annotations

from collections.abc import Mapping

from paceline import _contract as c
from paceline.agent.failure import Failure

# A pod that gives signs of life, and whose agent has not beaten for so long, hangs and does not come back.
HUNG_S = 600.0


def lost_pods(
    nodes: int,
    local_world_size: int,
    *,
    now: float,
    started: float,
    heard: Mapping[int, float],
    done: frozenset[int],
    start_limit_s: float,
    limit_s: float,
    felt: Mapping[int, float] = {},
    awake: float = 0.0,
) -> dict[int, Failure]:
    """The failure of each pod that never came up, or fell silent before it was done; the first one comes first.

    Args:
        local_world_size: Processes of a pod: its first one stands for it.
        heard: When each pod last beat, on the clock of `now` and `started` (seconds).
        felt: When each pod last gave a mere sign of life.
        awake: Since when the one who judges has been awake: silence before that was its own.
    """
    lost: dict[int, Failure] = {}
    for node in range(1, nodes):
        last = heard.get(node)
        quiet_s = now - started if last is None else now - max(last, awake, min(felt.get(node, last), last + HUNG_S))
        if node in done or quiet_s <= (start_limit_s if last is None else limit_s):
            continue
        said = "has not come up" if last is None else "has fallen silent"
        lost[node] = Failure(
            f"the agent of pod {node} {said} for {quiet_s:.0f} s: look at that pod and its node",
            reason=c.REASON_AGENT_LOST,
            rank=node * local_world_size,
            exit_code=c.EXIT_LEAD_LOST,
        )
    return lost
