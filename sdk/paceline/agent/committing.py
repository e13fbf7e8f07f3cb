"""Rounds on their way into the store: claim a number, wait for the files, commit or give up, retain the best.

The order of the steps is the protocol (docs/design/0003-checkpoints.md). State changes in the event loop only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from paceline.agent import log
from paceline.agent.beat import Beat, Upload
from paceline.agent.clock import rfc3339
from paceline.agent.commits import Checkpoints, Commit, NameTakenError, directory_name
from paceline.agent.config import AgentConfig
from paceline.agent.errors import CheckpointError
from paceline.agent.reports import Reports
from paceline.agent.rounds import Merge, Rounds
from paceline.agent.storing import store
from paceline.policy import retention

_COMMIT_PATIENCE_S = 90.0  # network file systems may show another pod's file a minute late
_OUTCOMES_KEPT = 1000


@dataclass(slots=True)
class _Active:
    """A decided round whose files are being stored."""

    merge: Merge
    index: int
    shares: Mapping[int, tuple[str, ...]]  # rank -> the files of it that are stored
    stored: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    torn: str = ""

    @property
    def directory(self) -> str:
        return self.merge.name or directory_name(self.index)


class Committing:
    """The checkpoints of one attempt."""

    def __init__(
        self, config: AgentConfig, checkpoints: Checkpoints, commits: Iterable[Commit], rounds: Rounds, reports: Reports
    ) -> None:
        """Go on from `commits`, which this run continues, the oldest first."""
        self._config = config
        self._checkpoints = checkpoints
        self._rounds = rounds
        self._reports = reports
        self.commits = list(commits)
        self._active: dict[int, _Active] = {}
        self.settled = -1  # every round up to this one needs nothing more
        self._done: set[int] = set()  # rounds beyond it that need nothing more either
        self._outcomes: dict[int, Mapping[str, Any]] = {}
        self._lost: dict[int, str] = {}  # rank that stores nothing more -> why
        self._advancing = False

    def heard(self, beat: Beat) -> None:
        """A pod tells what it has stored."""
        for round_, active in self._active.items():
            active.stored.update(beat.stored.get(round_, {}))
            active.torn = active.torn or beat.torn.get(round_, "")

    def lost(self, ranks: Iterable[int], why: str) -> None:
        """The pod of these ranks is given up. A checkpoint that lacks a file of theirs will never be complete."""
        self._lost |= dict.fromkeys(ranks, why)

    def uploads(self, ranks: range) -> tuple[Upload, ...]:
        """What the pod of these ranks shall store."""
        return tuple(
            Upload(round_, active.directory, {rank: active.shares.get(rank, ()) for rank in ranks})
            for round_, active in self._active.items()
        )

    def outcomes(self, rounds: Iterable[int]) -> dict[int, Mapping[str, Any]]:
        """How those of these rounds ended that have."""
        lost = {"error": "what became of it is no longer known: look at the run's checkpoints"}
        return {n: self._outcomes.get(n, lost) for n in rounds if n <= self.settled}

    @property
    def idle(self) -> bool:
        """No round is on its way, and what retention takes is gone."""
        return not self._active and not self._advancing

    async def advance(self) -> bool:
        """Open what is decided and commit what is stored, in order. Whether a checkpoint came to exist.

        Raises:
            StorageFailedError, FencedError, CheckpointError: The attempt cannot go on.
        """
        committed = False
        # The agent ends when this is idle: not between a commit and the last deletion that it brings.
        self._advancing = True
        try:
            while (merge := self._rounds.decide()) is not None:
                await self._open(merge)
            while self._active:
                round_, active = next(iter(self._active.items()))
                if active.torn:
                    await self._give_up(round_, active, active.torn)
                elif active.merge.owners.keys() <= active.stored.keys():
                    await self._commit(round_, active)
                    committed = True
                elif lost := self._never_complete(active.merge, active.stored):
                    await self._give_up(round_, active, lost)
                else:
                    break
        finally:
            self._advancing = False
        return committed

    async def _open(self, merge: Merge) -> None:
        if merge.names:
            raise CheckpointError(
                f"the ranks gave the checkpoint of report {merge.round} different names"
                f" ({', '.join(f'rank {rank}: {name or None!r}' for rank, name in list(merge.names.items())[:4])}):"
                " give the same checkpoint_dir_name on every rank"
            )
        if merge.missing:
            why = f"rank {rank_names(merge.missing)} ended before giving its files"
            log.say(f"checkpoint of report {merge.round} is dropped: {why}")
            self._settle(merge.round, {"error": why})
            return
        if why := self._never_complete(merge):
            log.say(f"checkpoint of report {merge.round} is dropped: {why}")
            self._settle(merge.round, {"error": why})
            return
        for name in merge.conflicts:
            log.say(
                f"warning: several ranks gave {name} with different sizes; rank {merge.owners[name]}'s is kept. Give"
                " files of different content different names, such as one with the rank in it"
            )
        least = self.commits[-1].index + 1 if self.commits else 0
        least = max([least, *(active.index + 1 for active in self._active.values())])
        if merge.name and any(active.merge.name == merge.name for active in self._active.values()):
            raise CheckpointError(f"two checkpoints in a row are called {merge.name}: give each a name of its own")
        try:
            index = await store("claim of a checkpoint", lambda: self._checkpoints.claim(least, merge.name))
        except NameTakenError as e:
            raise CheckpointError(f"the checkpoint of report {merge.round} cannot be stored: {e}") from e
        self._active[merge.round] = _Active(merge, index, _shares(merge.owners))

    async def _commit(self, round_: int, active: _Active) -> None:
        report = self._reports.of(round_)
        commit = Commit(
            index=active.index,
            attempt=self._config.attempt,
            step=report.step if report else None,
            time=rfc3339(time.time()),
            metrics=report.metrics if report else {},
            world_size=self._config.world_size,
            files={name: active.stored[name] for name in active.merge.owners},
            ranks=active.merge.ranks,
            run_id=self._config.run_id,
            iteration=self._reports.iteration(round_),
            name=active.merge.name,
            external=active.merge.external,
        )
        done = await store("commit", lambda: self._checkpoints.commit(commit), patience_s=_COMMIT_PATIENCE_S)
        del self._active[round_]
        self.commits.append(done)
        self._settle(round_, {"commit": done.summary()})
        log.say(f"checkpoint {done.index} committed (step {done.step}): {done.location}")
        superfluous = retention.superfluous(candidates(self.commits), self._config.retention)
        for old in [kept for kept in self.commits if kept.index in superfluous]:
            await store("retention", lambda old=old: self._checkpoints.delete(old.index, old.name))  # type: ignore[misc]
            self.commits.remove(old)

    def _never_complete(self, merge: Merge, stored: Iterable[str] = ()) -> str:
        """Why it will not be: a file is lacking whose rank stores nothing more. Empty: it still may be."""
        lost = {rank: why for rank, why in self._lost.items() if rank in merge.owners.values()}
        return next((lost[rank] for name, rank in merge.owners.items() if rank in lost and name not in stored), "")

    async def _give_up(self, round_: int, active: _Active, why: str) -> None:
        log.say(f"checkpoint of report {round_} is dropped: {why}")
        await store("clean-up", lambda: self._checkpoints.abandon(active.index, active.merge.name))
        del self._active[round_]
        self._settle(round_, {"error": why})

    def _settle(self, round_: int, outcome: Mapping[str, Any]) -> None:
        self._outcomes[round_] = outcome
        if len(self._outcomes) > _OUTCOMES_KEPT:
            del self._outcomes[next(iter(self._outcomes))]
        self._done.add(round_)
        settled = {n for n in self._done if all(n < active for active in self._active)}
        self.settled = max({self.settled} | settled)
        self._done -= settled
        self._reports.forget(self.settled)


def _shares(owners: Mapping[str, int]) -> dict[int, tuple[str, ...]]:
    """Rank -> its files, from file -> rank. Made once for a round: every beat of every pod asks for some of it."""
    found: dict[int, list[str]] = {}
    for name, rank in owners.items():
        found.setdefault(rank, []).append(name)
    return {rank: tuple(names) for rank, names in found.items()}


def candidates(commits: Iterable[Commit]) -> list[retention.Candidate]:
    """What the retention rule needs of them."""
    return [retention.Candidate(commit.index, commit.metrics) for commit in commits]


def rank_names(ranks: tuple[int, ...]) -> str:
    """`0, 1, 2 and 5 more`."""
    shown = ", ".join(map(str, ranks[:8]))
    return shown + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
