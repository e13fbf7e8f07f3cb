"""The lead says which rank holds the others up: is that news?

The seconds move all the time, and a status that told each of them would be written all the time: the sentence stays as
it was when the rank fell behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paceline.api import Condition
from paceline_operator.policies.observed import AgentReport, PodSeen


@dataclass(frozen=True, slots=True)
class Begins:
    """A rank has fallen behind, or another one than before."""

    message: str


@dataclass(frozen=True, slots=True)
class Ends:
    """It has caught up."""

    message: str


def decide(
    known: Condition | None, report: AgentReport | None, current: Sequence[PodSeen], per_pod: int
) -> Begins | Ends | None:
    """Decide what is new; None: nothing.

    Args:
        known: The condition on record.
        report: The lead's newest answer; without one nothing is known to have changed.
        current: Pods of the attempt.
        per_pod: Workers in a pod.
    """
    if report is None:
        return None
    who = known.message.partition(" reports ")[0] if known is not None and known.status == "True" else None
    if report.straggler is None:
        return Ends(f"{who} has caught up") if who is not None else None
    rank = report.straggler.rank
    name = f"rank {rank}{_where(rank, current, per_pod)}"
    if name == who:
        return None
    return Begins(f"{name} reports {report.straggler.behind_s:g} s after the median rank, and the others wait for it")


def _where(rank: int, current: Sequence[PodSeen], per_pod: int) -> str:
    pod = next((pod for pod in current if pod.index == rank // per_pod), None)
    return f" in pod {pod.name} on node {pod.node or 'unknown'}" if pod is not None else ""
