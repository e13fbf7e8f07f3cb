"""The lead: gathers what all pods tell, has checkpoints committed, keeps the run's files.

Its state changes only in the event loop (`exchange`, `reported`); `serve` does the blocking work in threads.
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from paceline import _contract as c
from paceline.agent import attempts, figures, log, predecessor, silence, story, takeover
from paceline.agent.awake import Awake
from paceline.agent.beat import Beat, Orders, RankState
from paceline.agent.clock import rfc3339
from paceline.agent.commits import Commit
from paceline.agent.committing import Committing, rank_names
from paceline.agent.config import AgentConfig
from paceline.agent.console import Console
from paceline.agent.errors import StorageFailedError
from paceline.agent.failure import Failure
from paceline.agent.reports import Reports
from paceline.agent.rounds import Rounds
from paceline.agent.runfiles import RunFiles
from paceline.agent.runsync import RunSync
from paceline.agent.stalls import StallWatch
from paceline.agent.stopping import Agreement
from paceline.agent.stores import Stores
from paceline.agent.stragglers import Straggler, StragglerWatch
from paceline.agent.tracking import Tracked
from paceline.agent.waiting import until_set

_TICK_S = 0.2
_WRITE_S = 0.1
_WAIT_WARNING_S = 30.0
_SILENT_S = 5.0
_AGREE_S = 5.0  # for all pods to tell how far they are, before those that do not are left out


class Lead:
    """One attempt, seen from pod 0."""

    def __init__(self, config: AgentConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._token = uuid.uuid4().hex
        self._directory: takeover.RunDirectory | None = None  # None: no storage
        self._resumed: Commit | None = None
        self._ready = False
        self._rounds = Rounds(range(config.world_size))
        self._reports = Reports()
        self._committing: Committing | None = None  # None: no storage
        self._beats: dict[int, Beat] = {}
        self._heard: dict[int, float] = {}
        self._felt: dict[int, float] = {}  # by other threads
        self._awake = Awake(config.lead_lost_s, clock())
        self._started = clock()
        self._files = RunFiles(config.directory / "run", config.attempt)
        self._params: dict[str, Any] = {
            "command": list(config.command),
            "world_size": config.world_size,
            "framework": config.framework,
            "job": config.job,
            "run_id": config.run_id,
            "storage_path": config.storage_path,
            "experiment_name": config.experiment_name,
        }
        self._sync = RunSync(self._files, None, clock=clock)
        self._console = Console(log.say, clock=clock)
        self._waiting_since: tuple[int, float] | None = None
        self._artifact_owners: dict[str, int] = {}
        self._artifacts_warned = False
        self._stalls = StallWatch(config.stall_s)
        self._stragglers = StragglerWatch(range(config.world_size))
        self._agreement = Agreement(config.nodes)
        self._given_up: set[int] = set()  # pods of which nothing more is expected
        self._wake = asyncio.Event()
        self.trackers = Tracked()
        self.failure: Failure | None = None

    # --- start ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Prove that the store works, take the run over, find where to resume.

        Raises:
            InvalidConfigError, StorageFailedError, FencedError: Told to the user as they are.
        """
        await predecessor.await_last_checkpoint(self._config.previous_lead)
        stores = Stores(self._config)
        opened = await asyncio.to_thread(takeover.take_over, self._config, stores, self._token, self._files)
        self._directory = opened.directory
        self._resumed = opened.resumed
        self._reports.before = opened.iteration
        self._files.open()
        self._files.params(self._params)
        same_world = self._resumed is not None and self._resumed.world_size == self._config.world_size
        givers = self._resumed.ranks if self._resumed and same_world and self._resumed.ranks else None
        self._rounds = Rounds(range(self._config.world_size), givers)
        if opened.directory is not None:
            checkpoints = opened.directory.checkpoints
            self._committing = Committing(self._config, checkpoints, opened.commits, self._rounds, self._reports)
        self._sync = RunSync(self._files, opened.directory, clock=self._clock)
        self._started = self._clock()
        self._ready = True

    # --- what is told to the lead --------------------------------------------------------------

    def reported(self, round_: int, metrics: Mapping[str, Any], step: int, at: float) -> None:
        """Rank 0 made a report. It is in the local run files by the next `flush`."""
        self._files.report(self._reports.add(round_, metrics, step, at))
        self._console.show(step, metrics)

    def configured(self, params: Mapping[str, Any]) -> None:
        """Rank 0 has told more for `params.json`: its training function and the configuration."""
        self._params.update(params)
        self._files.params(self._params)

    def tracked(self, message: Mapping[str, Any]) -> None:
        """Rank 0 has told of a run at an experiment tracker, or of what hinders one."""
        self.trackers.told(message)
        self._files.tracking(self.trackers.runs)

    def exchange(self, beat: Beat) -> Orders:
        """Take note of one pod's state and answer with what it shall do."""
        if beat.leaving:
            self.leave()
        if not self._ready:
            return Orders(stop=self.failure, hold=self._agreement.hold)
        node = beat.node_rank
        now = self._heard[node] = self._clock()
        over = all(rank.ended for rank in beat.ranks)
        self._agreement.heard(node, asks=beat.asks, asked=beat.asked, over=over)
        self._agree()
        self._beats[node] = beat
        self._stalls.seen(beat.ranks, now)
        for rank in beat.ranks:
            self._rounds.seen(rank.rank, rank.reports)
            if rank.ended:
                self._stragglers.ended(rank.rank)
                self._rounds.ended(rank.rank, failed=rank.state == "failed")
        for number, given in beat.recent.items():
            for round_, ago_s in given:
                self._stragglers.seen(number, round_, now - ago_s)
        for offer in beat.offers:
            self._rounds.offered(offer.round, offer.rank, offer.files, name=offer.name, external=offer.external)
        if self._committing is not None:
            self._committing.heard(beat)
        self._note_artifacts(node, beat.artifacts)
        if beat.failure is not None and (self.failure is None or beat.failure.adds_lines_to(self.failure)):
            self.failure = beat.failure
        self._wake.set()
        return self._orders(beat)

    def leave(self) -> None:
        """A pod got SIGTERM: the whole group is told to stop."""
        self._agreement.leave(self._clock())

    @property
    def leaving(self) -> bool:
        """Whether the group is told to stop."""
        return self._agreement.hold

    def _agree(self) -> None:
        if (decided := self._agreement.decide(self._clock(), patience_s=_AGREE_S)) and self._agreement.asks:
            left_out = f"; {decided['missing']} pods did not tell how far they are" if decided["missing"] else ""
            log.say(f"should_stop() is true on every rank from its call {decided['stop_at']} on{left_out}")

    def felt(self, node: int) -> None:
        """A pod has given a sign of life, and nothing else. From any thread."""
        self._felt[node] = self._clock()

    def _orders(self, beat: Beat) -> Orders:
        size, committing = self._config.local_world_size, self._committing
        own = range(beat.node_rank * size, (beat.node_rank + 1) * size)
        return Orders(
            ready=True,
            marker=attempts.name(self._directory.entry.sequence) if self._directory else "",
            token=self._token,
            resumed=self._resumed.summary() if self._resumed else None,
            iteration=self._reports.before,
            uploads=committing.uploads(own) if committing else (),
            settled=committing.settled if committing else -1,
            no_checkpoints=self._no_checkpoints(),
            stop=self.failure,
            goodbye=beat.done,
            reached=self._rounds.reached,
            outcomes=committing.outcomes(beat.waiting) if committing else {},
            hold=self._agreement.hold,
            stop_at=self._agreement.stop_at,
            asks=self._agreement.asks,
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

    def _note_artifacts(self, node: int, names: tuple[str, ...]) -> None:
        for name in names:
            other = self._artifact_owners.setdefault(name, node)
            if other != node and not self._artifacts_warned:
                self._artifacts_warned = True
                log.say(
                    f"warning: pods {other} and {node} both wrote the artifact {name}; the one that was stored last"
                    " stays. Put the rank into the names of files in the working directory"
                )

    # --- work ----------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Commit what is ready, keep the run files in the store; until cancelled.

        Raises:
            StorageFailedError, FencedError: The attempt cannot go on.
        """
        beside = [asyncio.create_task(self._write_reports()), asyncio.create_task(self._watch())]
        try:
            while not any(task.done() for task in beside):
                await until_set(self._wake, _TICK_S)
                self._wake.clear()
                await self._advance()
                if self._sync.due:
                    await self._sync.now()
            for task in beside:
                if task.done():
                    task.result()
        finally:
            for task in beside:
                task.cancel()

    async def _watch(self) -> None:
        """Beside the work: a store that hangs must not keep the lead from noticing who is gone."""
        while True:
            await asyncio.sleep(_TICK_S)
            self._look_for_silence()
            self._look_for_stalls()
            self._agree()

    async def _write_reports(self) -> None:
        """Some at a time, so that the processes' messages have their turn between."""
        while True:
            # Without a pause while there is a backlog, but never before the sockets were looked at.
            pause_s = 0 if self._files.write_some() else _WRITE_S
            await asyncio.sleep(pause_s)

    @property
    def idle(self) -> bool:
        """No round is undecided or on its way."""
        return not self._rounds.pending and (self._committing is None or self._committing.idle)

    def others_done(self, *, stopped: bool) -> bool:
        """Whether every other pod has said that it is done; of a stopped attempt, silent pods are not waited for."""
        if stopped and not self._ready:
            return True  # none of them has started anything
        now = self._clock()
        for node in range(1, self._config.nodes):
            beat = self._beats.get(node)
            silent = now - self._heard.get(node, self._started) > _SILENT_S
            if not (beat and beat.done) and not (stopped and silent):
                return False
        return True

    async def sync(self) -> None:
        """Bring the run files into the store as they are now."""
        await self._sync.now()

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
        """Close the local files, and show the last report."""
        self._files.close()
        self._console.flush()

    async def _advance(self) -> None:
        if self._committing is None:
            return
        if self._rounds.pending and (refused := self._no_checkpoints()):
            # The processes of this pod had reported before the other pod found out.
            raise StorageFailedError(refused)
        if await self._committing.advance():
            await self._sync.after_commit()

    def _look_for_silence(self) -> None:
        """Warn of ranks that do not report, and give up on pods that are gone."""
        now = self._clock()
        awake = self._awake.since(now)
        waiting = self._rounds.waiting_for()
        if waiting is None:
            self._waiting_since = None
        elif self._waiting_since is None or self._waiting_since[0] != waiting[0]:
            self._waiting_since = waiting[0], now
        elif now - self._waiting_since[1] > _WAIT_WARNING_S:
            log.say(
                f"warning: a checkpoint waits for report {waiting[0]} of rank {rank_names(waiting[1])}: call"
                " paceline.train.report() on every rank, with or without a checkpoint"
            )
            self._waiting_since = waiting[0], now + 10 * _WAIT_WARNING_S
        quiet = functools.partial(
            silence.lost_pods,
            self._config.nodes,
            self._config.local_world_size,
            now=now,
            started=self._started,
            heard=self._heard,
            done=frozenset(node for node, beat in self._beats.items() if beat.done),
            start_limit_s=self._config.lead_start_s,
            felt=dict(self._felt),
            awake=awake,
        )
        gone = quiet(limit_s=self._config.lead_lost_s)
        if self.failure is None and gone:
            self.failure = replace(next(iter(gone.values())), time=rfc3339(time.time()))
        # At the end all beat often, and who is killed says nothing: nobody sits out its grace period for that one.
        ending = self.failure is not None or self.leaving
        for node in quiet(limit_s=min(_SILENT_S, self._config.lead_lost_s)) if ending else gone:
            if node not in self._given_up:
                self._give_up(node)

    def _give_up(self, node: int) -> None:
        """Nothing more is expected of a pod, whatever the attempt ends of: who waits for it wastes the grace period."""
        self._given_up.add(node)
        size = self._config.local_world_size
        ranks = range(node * size, (node + 1) * size)
        for rank in ranks:
            self._rounds.ended(rank, failed=True)
        if self._committing is not None:
            self._committing.lost(ranks, f"pod {node} was given up before its files were stored")
        self._wake.set()

    def _look_for_stalls(self) -> None:
        now = self._clock()
        self._stalls.hold(now, held=self._committing is not None and not self._committing.idle)
        if self.failure is None and (stalled := self._stalls.stalled(now)):
            self.failure = replace(stalled, time=rfc3339(time.time()))

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
        """progress, checkpoint, bestCheckpoint, resumedFrom and tracking of `/status`."""
        commits = self._committing.commits if self._committing else []
        told = story.tell(self._reports.last, self.ranks(), commits, self._resumed, self._config.retention)
        if self.straggler is not None and "progress" in told:
            told["progress"]["slowestRank"] = self.straggler.rank
        if runs := self.trackers.runs:
            told["tracking"] = runs
        return told

    @property
    def straggler(self) -> Straggler | None:
        """The rank that holds the others up, if there is one."""
        return self._stragglers.straggler

    def uploads(self) -> dict[str, float]:
        """`uploads` of `/status`: of the whole attempt."""
        settled = self._committing.settled if self._committing else -1
        rounds = (offer.round for beat in self._beats.values() for offer in beat.offers if offer.round > settled)
        return figures.uploads(rounds, (beat.figures for beat in self._beats.values()))
