"""What `/status` and the termination message tell of a run: how far it is, and its checkpoints. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from paceline.agent.beat import RankState
from paceline.agent.clock import rfc3339
from paceline.agent.commits import Commit
from paceline.agent.committing import candidates
from paceline.agent.reports import Report
from paceline.agent.status import slowest
from paceline.policy import retention


def tell(
    last: Report | None,
    ranks: Iterable[RankState],
    commits: Sequence[Commit],
    resumed: Commit | None,
    rule: retention.Retention,
) -> dict[str, Any]:
    """progress, checkpoint, bestCheckpoint and resumedFrom, where known.

    Args:
        commits: Those that the run continues, the oldest first.
    """
    told: dict[str, Any] = {}
    if last is not None:
        told["progress"] = {
            "step": last.step,
            "metrics": dict(last.metrics),
            "time": rfc3339(last.time),
            "slowestRank": slowest(ranks),
        }
    elif resumed is not None and resumed in commits:
        # An attempt that finds everything done reports nothing: how far the run is stands in what it resumed.
        told["progress"] = {
            "step": resumed.step,
            "metrics": dict(resumed.metrics),
            "time": resumed.time,
            "slowestRank": None,
        }
    if commits:
        told["checkpoint"] = commits[-1].summary()
    best = retention.best(candidates(commits), rule)
    told["bestCheckpoint"] = next((commit.summary() for commit in commits if commit.index == best), {})
    if resumed is not None:
        told["resumedFrom"] = {key: resumed.summary()[key] for key in ("path", "index", "step")}
    return told
