"""Where this process stands: its rank, its run, its storage; what becomes ids, names and directories of trackers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from paceline import _contract as c
from paceline.train import get_context

_COMET_KEY = 32  # letters and digits at least; 50 at most


@dataclass(frozen=True, slots=True)
class Place:
    """One process of a run.

    Attributes:
        rank: Of all processes.
        world_size: How many there are.
        run_id: The same in every attempt; empty outside of a run.
        name: Of the run.
        attempt: 0 for the first.
        run_path: The run's directory in its store; empty: nothing is stored.
        resumed_step: Step of the checkpoint that this attempt goes on from; None: it starts anew.
    """

    rank: int = 0
    world_size: int = 1
    run_id: str = ""
    name: str = ""
    attempt: int = 0
    run_path: str = ""
    resumed_step: int | None = None

    def logs(self, per_rank: bool) -> bool:
        """Whether this process has a run of the tracker."""
        return per_rank or self.rank == 0

    def id(self, per_rank: bool) -> str:
        """The run's id at a tracker; empty outside of a run, where the tracker makes one."""
        return f"{self.run_id}-rank{self.rank}" if self.run_id and per_rank and self.rank else self.run_id

    def comet_key(self, per_rank: bool) -> str | None:
        """The id as Comet wants it: 32 to 50 letters and digits, the same for the same run."""
        given = self.id(per_rank)
        if not given:
            return None
        plain = re.sub(r"[^0-9a-zA-Z]", "", given)
        # A uid has 32 digits and stays readable; whatever is shorter, longer or was changed would not tell runs apart.
        if len(plain) == _COMET_KEY and plain == given.replace("-", ""):
            return plain
        return sha256(given.encode()).hexdigest()[:_COMET_KEY]

    def title(self, per_rank: bool) -> str | None:
        """A name for people; None outside of a run."""
        if not self.name:
            return None
        return f"{self.name}-rank{self.rank}" if per_rank and self.world_size > 1 else self.name

    @property
    def shared_directory(self) -> str:
        """The run's directory where that is a path of this machine, or of a volume; else empty."""
        return "" if "://" in self.run_path else self.run_path

    def about(self) -> dict[str, Any]:
        """What a tracker's run says of ours, beside the user's configuration; empty outside of a run."""
        told = {
            "paceline/run_id": self.run_id,
            "paceline/name": self.name,
            "paceline/storage_path": self.run_path,
            "paceline/world_size": self.world_size if self.run_id else 0,
        }
        return {key: value for key, value in told.items() if value}


def here(environ: Mapping[str, str] | None = None) -> Place:
    """The place of this process.

    Args:
        environ: None: this process's, in which a worker of a trainer has its own too.
    """
    env = os.environ if environ is None else environ
    context = get_context()
    run_id = env.get(c.RUN_ID, "")
    resumed = json.loads(env.get(c.RESUMED_CHECKPOINT) or "null")
    return Place(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        run_id=run_id,
        name=context.get_experiment_name() if run_id else "",
        attempt=int(env.get(c.ATTEMPT) or 0),
        run_path=(context.get_storage().run_path or "") if run_id else "",
        resumed_step=None if resumed is None or resumed.get("step") is None else int(resumed["step"]),
    )


def configuration(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """What to log as the run's configuration: what is given, else `train_loop_config`, where a trainer has one."""
    from paceline.train import _report

    if config is not None:
        return dict(config)
    return dict(_report.train_loop_config or {})
