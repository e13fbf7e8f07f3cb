"""The lead: gathers what all pods tell, decides rounds, commits checkpoints, keeps the run's files.

Its state changes only in the event loop (`exchange`, `reported`); `serve` does the blocking work in threads.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from paceline import _contract as c
from paceline.agent import attempts, log, silence, takeover
from paceline.agent.beat import Beat, Orders, RankState, Upload
from paceline.agent.clock import rfc3339
from paceline.agent.commits import Commit, directory_name
from paceline.agent.config import AgentConfig
from paceline.agent.errors import StorageFailedError
from paceline.agent.failure import Failure
from paceline.agent.rounds import Merge, Rounds
from paceline.agent.runfiles import RunFiles
from paceline.agent.status import slowest
from paceline.policy import retention
from paceline.storage import StorageError, retry

T = TypeVar("T")

_PATIENCE_S = 600.0
_COMMIT_PATIENCE_S = 90.0  # network file systems may show another pod's file a minute late
_TICK_S = 0.2
_SYNC_S = 2.0
_SYNC_BYTES_PER_S = 1_000_000  # larger run files are synced less often
_WAIT_WARNING_S = 30.0
_SILENT_S = 5.0
_ROUNDS_KEPT = 10_000


@dataclass(slots=True)
class _Active:
    """A decided round on its way into the store."""

    merge: Merge
    index: int
    stored: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    torn: str = ""


@dataclass(frozen=True, slots=True)
class _Report:
    metrics: Mapping[str, Any]
    step: int
    time: float
    iteration: int


class Lead:
    """One attempt, seen from pod 0."""

    def __init__(self, config: AgentConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._token = uuid.uuid4().hex
        self._directory: takeover.RunDirectory | None = None  # None: no storage
        self._commits: list[Commit] = []
        self._resumed: Commit | None = None
        self._iteration = 0
        self._ready = False
        self._rounds = Rounds(range(config.world_size))
        self._active: dict[int, _Active] = {}
        self._settled = -1  # every round up to this one needs nothing more
        self._done: set[int] = set()  # rounds beyond it that need nothing more either
        self._reports: dict[int, _Report] = {}  # rank 0's, by round
        self._last: _Report | None = None
        self._beats: dict[int, Beat] = {}
        self._heard: dict[int, float] = {}
        self._started = clock()
        self._files = RunFiles(config.directory / "run")
        self._synced = clock()
        self._sync_cost_s = 0.0
        self._waiting_since: tuple[int, float] | None = None
        self._wake = asyncio.Event()
        self.failure: Failure | None = None

    # --- start ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Prove that the store works, take the run over, find where to resume.

        Raises:
            InvalidConfigError, StorageFailedError, FencedError: Told to the user as they are.
        """
        opened = await asyncio.to_thread(takeover.take_over, self._config, self._token, self._files)
        self._directory = opened.directory
        self._commits = list(opened.commits)
        self._resumed = opened.resumed
        self._iteration = opened.iteration
        self._files.open()
        self._files.params(
            {
                "command": list(self._config.command),
                "world_size": self._config.world_size,
                "framework": self._config.framework,
                "job": self._config.job,
                "run_id": self._config.run_id,
                "storage_path": self._config.storage_path,
                "experiment_name": self._config.experiment_name,
            }
        )
        same_world = self._resumed is not None and self._resumed.world_size == self._config.world_size
        givers = self._resumed.ranks if self._resumed and same_world and self._resumed.ranks else None
        self._rounds = Rounds(range(self._config.world_size), givers)
        self._started = self._clock()
        self._ready = True

    # --- what is told to the lead --------------------------------------------------------------

    def reported(self, round_: int, metrics: Mapping[str, Any], step: int, at: float) -> None:
        """Rank 0 made a report. It is in the local run files when this returns."""
        self._last = report = _Report(metrics, step, at, self._iteration + round_ + 1)
        self._reports[round_] = report
        if len(self._reports) > _ROUNDS_KEPT:
            del self._reports[next(iter(self._reports))]
        self._files.report(metrics, step=step, time=at, attempt=self._config.attempt, iteration=report.iteration)

    def exchange(self, beat: Beat) -> Orders:
        """Take note of one pod's state and answer with what it shall do."""
        if not self._ready:
            return Orders(stop=self.failure)
        node = beat.node_rank
        self._heard[node] = self._clock()
        self._beats[node] = beat
        for rank in beat.ranks:
            self._rounds.seen(rank.rank, rank.reports)
            if rank.ended:
                self._rounds.ended(rank.rank, failed=rank.state == "failed")
        for offer in beat.offers:
            self._rounds.offered(offer.round, offer.rank, offer.files)
        for round_, active in self._active.items():
            active.stored.update(beat.stored.get(round_, {}))
            active.torn = active.torn or beat.torn.get(round_, "")
        if beat.failure is not None and self.failure is None:
            self.failure = beat.failure
        self._wake.set()
        return self._orders(node)

    def _orders(self, node: int) -> Orders:
        size = self._config.local_world_size
        own = range(node * size, node * size + size)
        uploads = tuple(
            Upload(
                round_,
                directory_name(active.index),
                {rank: tuple(n for n, owner in active.merge.owners.items() if owner == rank) for rank in own},
            )
            for round_, active in self._active.items()
        )
        return Orders(
            ready=True,
            marker=attempts.name(self._directory.entry.sequence) if self._directory else "",
            token=self._token,
            resumed=self._resumed.summary() if self._resumed else None,
            iteration=self._iteration,
            uploads=uploads,
            settled=self._settled,
            no_checkpoints=self._no_checkpoints(),
            stop=self.failure,
            goodbye=self._beats[node].done,
        )

    def _no_checkpoints(self) -> str:
        if self._directory is None:
            return "this job has no storage: set spec.storage.path (RunConfig(storage_path=...)) to keep checkpoints"
        apart = [str(node) for node, beat in sorted(self._beats.items()) if beat.shares_storage is False]
        if not apart:
            return ""
        return (
            f"the storage path {self._config.storage_path} is not shared: pod {', '.join(apart)} does not see what"
            " pod 0 wrote there. Mount one volume in every pod (spec.storage.volume), or use a store such as s3://"
        )

    # --- work ----------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Commit what is ready, keep the run files in the store; until cancelled.

        Raises:
            StorageFailedError, FencedError: The attempt cannot go on.
        """
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), _TICK_S)
            except asyncio.TimeoutError:
                pass
            self._wake.clear()
            await self._commit_ready()
            self._look_for_silence()
            if self._sync_due():
                await self.sync()

    @property
    def idle(self) -> bool:
        """No round is undecided or on its way."""
        return not self._rounds.pending and not self._active

    def others_done(self, *, stopped: bool) -> bool:
        """Whether every other pod has said that it is done; of a stopped attempt, silent pods are not waited for."""
        now = self._clock()
        for node in range(1, self._config.nodes):
            beat = self._beats.get(node)
            silent = now - self._heard.get(node, self._started) > _SILENT_S
            if not (beat and beat.done) and not (stopped and silent):
                return False
        return True

    async def sync(self) -> None:
        """Bring the run files into the store as they are now."""
        self._files.flush()
        directory = self._directory
        if directory is None or not self._files.changed:
            return
        self._files.changed = False
        begun = self._clock()
        await self._store("run files", lambda: self._files.sync(directory.storage, directory.path))
        self._synced = self._clock()
        self._sync_cost_s = self._synced - begun

    async def write_error(self, failure: Failure | None) -> None:
        """Leave `.paceline/error.json`, or remove an earlier attempt's."""
        if self._directory is None:
            return
        storage, path = self._directory.storage, f"{self._directory.path}/{c.STATE_DIR}/{c.ERROR_FILE}"
        if failure is None:
            await asyncio.to_thread(storage.delete, path)
            return
        data = json.dumps({**failure.to_json(), "attempt": self._config.attempt}, indent=1).encode()
        await asyncio.to_thread(storage.write, path, data)

    def close(self) -> None:
        """Close the local files."""
        self._files.close()

    async def _commit_ready(self) -> None:
        while (merge := self._rounds.decide()) is not None:
            await self._open_round(merge)
        while self._active:
            round_, active = next(iter(self._active.items()))
            if active.torn:
                log.say(f"checkpoint of report {round_} is dropped: {active.torn}")
                await self._abandon(round_, active.index)
            elif active.merge.owners.keys() <= active.stored.keys():
                await self._commit(round_, active)
            else:
                return

    async def _open_round(self, merge: Merge) -> None:
        if refused := self._no_checkpoints():
            # The processes of this pod had reported before the other pod found out.
            raise StorageFailedError(refused)
        assert self._directory is not None
        if merge.missing:
            log.say(
                f"checkpoint of report {merge.round} is dropped: rank {_names(merge.missing)} ended before giving"
                " its files"
            )
            self._settle(merge.round)
            return
        for name in merge.conflicts:
            log.say(
                f"warning: several ranks gave {name} with different sizes; rank {merge.owners[name]}'s is kept. Give"
                " files of different content different names, such as one with the rank in it"
            )
        checkpoints = self._directory.checkpoints
        least = self._commits[-1].index + 1 if self._commits else 0
        least = max([least, *(active.index + 1 for active in self._active.values())])
        index = await self._store("claim of a checkpoint", lambda: checkpoints.claim(least))
        self._active[merge.round] = _Active(merge, index)

    async def _commit(self, round_: int, active: _Active) -> None:
        assert self._directory is not None
        report = self._reports.get(round_)
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
            iteration=report.iteration if report else self._iteration + round_ + 1,
        )
        checkpoints = self._directory.checkpoints
        done = await self._store("commit", lambda: checkpoints.commit(commit), patience_s=_COMMIT_PATIENCE_S)
        del self._active[round_]
        self._settle(round_)
        self._commits.append(done)
        log.say(f"checkpoint {done.index} committed (step {done.step}): {done.path}")
        for index in retention.superfluous(_candidates(self._commits), self._config.retention):
            await self._store("retention", lambda index=index: checkpoints.delete(index))  # type: ignore[misc]
            self._commits = [kept for kept in self._commits if kept.index != index]
        await self.sync()

    async def _abandon(self, round_: int, index: int) -> None:
        assert self._directory is not None
        checkpoints = self._directory.checkpoints
        await self._store("clean-up", lambda: checkpoints.abandon(index))
        del self._active[round_]
        self._settle(round_)

    def _settle(self, round_: int) -> None:
        self._done.add(round_)
        settled = {n for n in self._done if all(n < active for active in self._active)}
        self._settled = max({self._settled} | settled)
        self._done -= settled
        for done in [n for n in self._reports if n <= self._settled]:
            del self._reports[done]

    async def _store(self, what: str, action: Callable[[], T], *, patience_s: float = _PATIENCE_S) -> T:
        try:
            return await asyncio.to_thread(
                lambda: retry.call(action, patience_s=patience_s, on_retry=log.retrying(what))
            )
        except StorageError as e:
            raise StorageFailedError(str(e)) from e

    def _look_for_silence(self) -> None:
        """Warn of ranks that do not report, and give up on pods that are gone."""
        now = self._clock()
        waiting = self._rounds.waiting_for()
        if waiting is None:
            self._waiting_since = None
        elif self._waiting_since is None or self._waiting_since[0] != waiting[0]:
            self._waiting_since = waiting[0], now
        elif now - self._waiting_since[1] > _WAIT_WARNING_S:
            log.say(
                f"warning: a checkpoint waits for report {waiting[0]} of rank {_names(waiting[1])}: call"
                " paceline.train.report() on every rank, with or without a checkpoint"
            )
            self._waiting_since = waiting[0], now + 10 * _WAIT_WARNING_S
        if self.failure is None:
            lost = silence.lost_pod(
                self._config.nodes,
                now=now,
                started=self._started,
                heard=self._heard,
                done=frozenset(node for node, beat in self._beats.items() if beat.done),
                start_limit_s=self._config.lead_start_s,
                limit_s=self._config.lead_lost_s,
            )
            self.failure = replace(lost, time=rfc3339(time.time())) if lost else None

    def _sync_due(self) -> bool:
        if not self._files.changed:
            return False
        self._files.flush()
        period = max(_SYNC_S, self._files.size_bytes / _SYNC_BYTES_PER_S, 20 * self._sync_cost_s)
        return self._clock() - self._synced >= period

    # --- what the lead tells -------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether `start` is through."""
        return self._ready

    def ranks(self) -> list[RankState]:
        """All ranks, as last heard of."""
        known = {rank.rank: rank for beat in self._beats.values() for rank in beat.ranks}
        return [known.get(rank, RankState(rank)) for rank in range(self._config.world_size)]

    def story(self) -> dict[str, Any]:
        """progress, checkpoint, bestCheckpoint and resumedFrom of `/status`."""
        told: dict[str, Any] = {}
        if self._last is not None:
            told["progress"] = {
                "step": self._last.step,
                "metrics": dict(self._last.metrics),
                "time": rfc3339(self._last.time),
                "slowestRank": slowest(self.ranks()),
            }
        if self._commits:
            told["checkpoint"] = self._commits[-1].summary()
        best = retention.best(_candidates(self._commits), self._config.retention)
        told["bestCheckpoint"] = next((commit.summary() for commit in self._commits if commit.index == best), {})
        if self._resumed is not None:
            told["resumedFrom"] = {key: self._resumed.summary()[key] for key in ("path", "index", "step")}
        return told


def _candidates(commits: list[Commit]) -> list[retention.Candidate]:
    return [retention.Candidate(commit.index, commit.metrics) for commit in commits]


def _names(ranks: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, ranks[:8]))
    return shown + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
