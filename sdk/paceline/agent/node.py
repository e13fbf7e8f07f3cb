"""One pod's part: takes reports from its processes, has their files stored, and keeps in touch with the lead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from paceline._metrics import reported_step
from paceline.agent import figures, names, sharing, staging
from paceline.agent.artifacts import Artifacts
from paceline.agent.awake import Awake
from paceline.agent.beat import Beat, Orders, RankState
from paceline.agent.channel import Connection
from paceline.agent.config import AgentConfig
from paceline.agent.copies import SharedCopies
from paceline.agent.errors import AgentError, LeadLostError
from paceline.agent.failure import Failure
from paceline.agent.holdups import Holdups
from paceline.agent.link import HttpLink, Link, LinkDownError
from paceline.agent.pending import Pending
from paceline.agent.pulse import Pulse
from paceline.agent.recent import Recent
from paceline.agent.requests import Requests
from paceline.agent.silence import HUNG_S
from paceline.agent.staging import Staged
from paceline.agent.stopping import SETTLE_S, Stopping
from paceline.agent.stores import Stores
from paceline.agent.uploads import Uploads
from paceline.agent.waiting import until_set
from paceline.storage.transfer import Progress

_BUSY_BEAT_S = 0.1  # while files are on their way, and before the start
_CALM_BEAT_S = 0.5
_LAST_WORD_S = 2.0
_JUDGE_S = 0.25
_PARTING_S = 2.0  # a pod that was told to stop and holds nothing waits no longer for a lead that does not answer

Reported = Callable[[int, Mapping[str, Any], int, float], None]


class Node:
    """Reports, offers and uploads of the ranks of this pod."""

    def __init__(
        self,
        config: AgentConfig,
        link: Link,
        *,
        reported: Reported,
        changed: Callable[[], None],
        configured: Callable[[Mapping[str, Any]], None] = lambda params: None,
        tracked: Callable[[Mapping[str, Any]], None] = lambda message: None,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            reported: Told rank 0's reports: number, metrics, step, time.
            changed: Called when `ready`, `stop` or `fatal` may have changed.
            configured: Told what `params.json` is to say of the training function, by rank 0.
            tracked: Told what rank 0 says of its experiment trackers.
        """
        self._config = config
        self._link = link
        self._reported = reported
        self._configured = configured
        self._tracked = tracked
        self._changed = changed
        self._stores = Stores(config)
        self._progress = Progress()
        self._rate = figures.Rate()
        self.staging = config.directory / "staging"
        self.ranks = {rank: RankState(rank) for rank in config.ranks}
        self._recent = {rank: Recent() for rank in config.ranks}
        self._holdups = Holdups(config.stall_s)
        self.exceptions: dict[int, Mapping[str, Any]] = {}
        self._pending = Pending(config.max_pending, ask_lead=self.wake)
        self._uploads = Uploads(self._stores, progress=self._progress, advanced=self.wake, failed=self._fail)
        copies = SharedCopies(config.directory / "copies", self._stores)
        self._requests = Requests(self._stores, copies, self._pending)
        self.artifacts = Artifacts(config, self._stores)
        self.stopping = Stopping(config.directory / "stop")
        self._leaving = False
        self._orders = Orders()
        self._shares_storage: bool | None = None
        self._wake = asyncio.Event()
        self._marker_read = False
        self._marker: asyncio.Task[None] | None = None
        self._clearing: asyncio.Task[None] | None = None
        self._last_seen: float | None = None
        self._link_error = ""
        self._awake = Awake(config.lead_lost_s, time.monotonic())
        self._pulse = _pulse(config, link, lambda: self._last_seen or 0.0)
        self.failure: Failure | None = None
        self.done = False
        self.fatal: AgentError | None = None

    # --- messages of the processes -------------------------------------------------------------

    def received(self, connection: Connection, message: Mapping[str, Any]) -> None:
        """One line from a process; `rank` of the connection is set."""
        rank = connection.rank
        if rank not in self.ranks:
            raise ValueError(f"rank {rank} is not of this pod")
        match message["t"]:
            case "r":
                self._report(rank, connection, message)
            case "exception":
                self.exceptions[rank] = message
            case "params":
                if rank == 0:
                    self._configured(message["params"])
            case "tracking":
                if rank == 0:
                    self._tracked(message)
            case "hello":
                pass
            case _:
                # The same on every rank that reports equally often, and never twice in a run.
                name = f"attempt={self._config.attempt}_report={self.ranks[rank].reports:06d}"
                self._requests.received(connection, message, refused=self._orders.no_checkpoints, report_name=name)

    def _report(self, rank: int, connection: Connection, message: Mapping[str, Any]) -> None:
        state = self.ranks[rank]
        metrics: Mapping[str, Any] = message["m"]
        at = float(message["w"])
        step = reported_step(metrics)
        if step is None:
            step = self._orders.iteration + state.reports + 1
        gives = "c" in message or "x" in message
        refused = self._take_files(rank, state.reports, message) if gives else ""
        if not refused:
            self.ranks[rank] = replace(state, reports=state.reports + 1, step=step, time=at)
            self._recent[rank].add(state.reports, at)
            if rank == 0:
                self._reported(state.reports, metrics, step, at)
        if gives:
            connection.reply({"error": refused} if refused else {"round": state.reports})
            self._wake.set()

    def _take_files(self, rank: int, round_: int, message: Mapping[str, Any]) -> str:
        name = str(message.get("n") or "")
        if problem := name and names.directory_problem(name):
            return problem
        try:
            if "c" in message:
                staged = staging.take(self.staging, message["c"], name=name)
            else:
                staged = staging.Staged(None, name=name, external=str(message["x"]))
        except (ValueError, OSError) as e:
            return f"the checkpoint's files could not be taken over: {e}"
        refused = self._orders.no_checkpoints
        if not refused and name and self._pending.named(name) - {round_}:
            refused = f"checkpoint_dir_name={name!r} was given to an earlier checkpoint: take another name"
        if refused:
            staged.remove()
            return refused
        self._pending.add(round_, rank, staged)
        return ""

    def started(self, rank: int, pid: int) -> None:
        """This process runs the rank."""
        self.ranks[rank] = replace(self.ranks[rank], state="running")
        self._holdups.started(rank, pid)

    # --- the lead ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Beat until the lead has said goodbye, or the attempt cannot go on (`fatal`)."""
        if self._pulse is not None:
            self._pulse.start()
        tasks = {asyncio.create_task(self._beat_on()), asyncio.create_task(self._judge_lead())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()

    async def _beat_on(self) -> None:
        while True:
            try:
                sent = self.beat()
                orders = await self._link.exchange(sent)
            except LinkDownError as e:
                self._link_error = str(e)
            else:
                self._last_seen = time.monotonic()
                self.artifacts.told(sent.artifacts)
                self._follow(orders)
                if orders.goodbye and sent.done:
                    if self._clearing is not None:
                        await self._clearing
                    return
            for task in (self._marker, self._clearing):
                if task is not None and task.done():
                    task.result()
            deciding = self._orders.hold and not self._orders.stop_at
            busy = not self._orders.ready or len(self._pending) or self.done or deciding
            await until_set(self._wake, _BUSY_BEAT_S if busy else _CALM_BEAT_S)
            self._wake.clear()

    async def _judge_lead(self) -> None:
        """Beside the beats, whose answer may be waited for while the time is over."""
        begun = time.monotonic()
        while True:
            if self._lead_is_lost(begun):
                return
            await asyncio.sleep(_JUDGE_S)

    async def last_word(self) -> None:
        """Tell the lead, once, why this pod ends: else the others would wait until its silence is noticed."""
        if self._config.is_lead:
            return
        try:
            await asyncio.wait_for(self._link.exchange(self.beat()), _LAST_WORD_S)
        except (LinkDownError, asyncio.TimeoutError):
            pass  # it may be what the failure is about

    def beat(self) -> Beat:
        """This pod's state now."""
        return Beat(
            run_id=self._config.run_id,
            attempt=self._config.attempt,
            node_rank=self._config.node_rank,
            ranks=self._holdups.told(self.ranks.values()),
            offers=self._pending.offers(),
            stored=self._uploads.stored,
            torn=self._uploads.torn,
            shares_storage=self._shares_storage,
            failure=self.failure,
            done=self.done,
            waiting=self._pending.waiting,
            figures=self.figures(),
            artifacts=self.artifacts.to_tell(),
            recent={rank: recent.seconds_ago(time.time()) for rank, recent in self._recent.items()},
            leaving=self._leaving,
            asks=self.stopping.asks,
            asked=self.stopping.asked,
        )

    def figures(self) -> dict[str, float]:
        """Of this pod's transfers."""
        return {
            figures.PENDING_BYTES: self._pending.size_bytes,
            figures.WAIT_SECONDS: self._pending.held_s,
            figures.BYTES_PER_SECOND: self._rate.note(self._progress.bytes_done),
            figures.STORED_BYTES: self._progress.bytes_done,
            figures.RETRIES: self._progress.retries,
            figures.ARTIFACTS_STORED: self.artifacts.stored,
            figures.ARTIFACTS_FAILED: self.artifacts.failed,
        }

    @property
    def pending_rounds(self) -> set[int]:
        """Reports of this pod whose checkpoints are not settled."""
        return self._pending.rounds

    def leave(self) -> None:
        """This pod got SIGTERM: tell the lead, and hold the processes until all ranks know their last step."""
        self._leaving = True
        self._hold()

    @property
    def asks(self) -> bool:
        """Whether some process of the group asks whether to stop: then they are told so, and not by a signal."""
        return self._orders.asks or self.stopping.asks

    def _hold(self) -> None:
        self.stopping.hold()
        asyncio.get_running_loop().call_later(1.5 * SETTLE_S, self.wake)
        self.wake()

    def wake(self) -> None:
        """Beat now."""
        self._wake.set()

    @property
    def ready(self) -> bool:
        """Processes may start."""
        return self._orders.ready and (self._marker_read or not self._orders.marker)

    @property
    def orders(self) -> Orders:
        """The lead's last answer."""
        return self._orders

    @property
    def idle(self) -> bool:
        """Nothing that was reported waits here."""
        return not len(self._pending) and self._uploads.idle

    def close(self) -> None:
        """Stop uploads that still run."""
        for task in (self._marker, self._clearing):
            if task is not None:
                task.cancel()
        if self._pulse is not None:
            self._pulse.close()
        self._uploads.close()
        self._requests.close()

    def _lead_is_lost(self, begun: float) -> bool:
        now = time.monotonic()
        awake, seen = self._awake.since(now), self._last_seen
        if seen is None:
            quiet, limit = now - begun, self._config.lead_start_s
        else:
            felt = min(self._pulse.answered, seen + HUNG_S) if self._pulse is not None else 0.0
            quiet, limit = now - max(seen, felt, awake), self._config.lead_lost_s
        if self.done and self._leaving:
            limit = min(limit, _PARTING_S)
        if self._config.is_lead or quiet <= limit:
            return False
        if self.done:
            return True  # the lead got the last word or is gone; either way nothing waits here
        said = "never answered" if seen is None else "was lost"
        self._fail(LeadLostError(f"the lead agent (pod 0) {said} for {quiet:.0f} s: {self._link_error or 'no answer'}"))
        return True

    def _follow(self, orders: Orders) -> None:
        """Never waits: the next beat must not wait behind a store or a disk."""
        was = self.ready, self._orders.stop, self._orders.hold, self.idle
        if orders.hold and not self._orders.hold:
            self._hold()
        if orders.stop_at:
            self.stopping.decide(orders.stop_at)
        self._orders = orders
        if orders.ready and orders.marker and self._marker is None:
            self._marker = asyncio.create_task(self._read_marker(orders))
        if self._clearing is None:
            if settled := self._pending.settled_by(orders):
                self._clearing = asyncio.create_task(self._clear(settled, orders))
            else:
                self._note(orders)
        for upload in orders.uploads:
            self._uploads.begin(upload, self._pending.of(upload.round))
        self._uploads.settle(orders.settled)
        if was != (self.ready, orders.stop, orders.hold, self.idle):
            self._changed()

    async def _read_marker(self, orders: Orders) -> None:
        try:
            self._shares_storage = await asyncio.to_thread(sharing.sees_marker, self._config, self._stores, orders)
            self._marker_read = True
        except AgentError as e:
            self._fail(e)
        self.wake()
        self._changed()

    async def _clear(self, settled: list[Staged], orders: Orders) -> None:
        # In a thread: ours is the last link, and the kernel takes a second for some GB.
        await asyncio.to_thread(staging.remove, settled)
        self._clearing = None
        self._note(orders)
        self.wake()
        self._changed()

    def _note(self, orders: Orders) -> None:
        if self._pending.take_note(orders):
            self.artifacts.checkpoint_settled()

    def _fail(self, error: AgentError) -> None:
        if self.fatal is None:
            self.fatal = error
        self._pending.fail(str(error))
        self._changed()


def _pulse(config: AgentConfig, link: Link, last_beat: Callable[[], float]) -> Pulse | None:
    if not isinstance(link, HttpLink):
        return None
    about: dict[str, str | int] = {
        "runId": config.run_id, "attempt": config.attempt, "nodeRank": config.node_rank,
    }  # fmt: skip
    return Pulse(about, lead=lambda: link.where, last_beat=last_beat)
