"""One pod's part: takes reports from its processes, stores their files, and keeps in touch with the lead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from paceline.agent import log, staging
from paceline.agent.beat import Beat, Offer, Orders, RankState, Upload
from paceline.agent.channel import Connection
from paceline.agent.config import AgentConfig
from paceline.agent.copies import SharedCopies
from paceline.agent.errors import AgentError, LeadLostError, StorageFailedError
from paceline.agent.failure import Failure
from paceline.agent.link import Link, LinkDownError
from paceline.storage import Storage, StorageError, StorageNotFoundError, checksum, resolve, retry, transfer

_BUSY_BEAT_S = 0.1  # while files are on their way, and before the start
_CALM_BEAT_S = 0.5
_START_PATIENCE_S = 30.0

Reported = Callable[[int, Mapping[str, Any], int, float], None]


class Node:
    """Reports, offers and uploads of the ranks of this pod."""

    def __init__(self, config: AgentConfig, link: Link, *, reported: Reported, changed: Callable[[], None]) -> None:
        """Prepare; nothing runs yet.

        Args:
            reported: Told rank 0's reports: number, metrics, step, time.
            changed: Called when `ready`, `stop` or `fatal` may have changed.
        """
        self._config = config
        self._link = link
        self._reported = reported
        self._changed = changed
        self.staging = config.directory / "staging"
        self.ranks = {rank: RankState(rank) for rank in config.ranks}
        self.exceptions: dict[int, Mapping[str, Any]] = {}
        self._staged: dict[tuple[int, int], staging.Staged] = {}  # (round, rank)
        self._stored: dict[int, dict[str, Mapping[str, Any]]] = {}
        self._torn: dict[int, str] = {}
        self._uploads: dict[int, asyncio.Task[None]] = {}
        self._pool = ThreadPoolExecutor(transfer.FILES_AT_ONCE, thread_name_prefix="paceline-store")
        self._copies = SharedCopies(config.directory / "copies")
        self._background: set[asyncio.Task[None]] = set()
        self._orders = Orders()
        self._shares_storage: bool | None = None
        self._wake = asyncio.Event()
        self._marker_read = False
        self._last_seen: float | None = None
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
            case "fetch":
                self._spawn(self._fetch(connection, str(message["uri"])))
            case "read" | "write":
                self._spawn(self._small_file(connection, message))
            case "hello":
                pass

    def _report(self, rank: int, connection: Connection, message: Mapping[str, Any]) -> None:
        state = self.ranks[rank]
        metrics: Mapping[str, Any] = message["m"]
        at = float(message["w"])
        step = _step(metrics)
        if step is None:
            step = self._orders.iteration + state.reports + 1
        refused = self._take_files(rank, state.reports, message["c"]) if "c" in message else ""
        if not refused:
            self.ranks[rank] = replace(state, reports=state.reports + 1, step=step, time=at)
            if rank == 0:
                self._reported(state.reports, metrics, step, at)
        if "c" in message:
            connection.reply({"error": refused} if refused else {"ok": True})
            self._wake.set()

    def _take_files(self, rank: int, round_: int, directory: str) -> str:
        try:
            staged = staging.take(self.staging, directory)
        except (ValueError, OSError) as e:
            return f"the checkpoint's files could not be taken over: {e}"
        if self._orders.no_checkpoints:
            staged.remove()
            return self._orders.no_checkpoints
        self._staged[round_, rank] = staged
        return ""

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _fetch(self, connection: Connection, uri: str) -> None:
        # Released when the process closes this connection, or dies.
        connection.on_close.append(lambda: self._copies.release(uri))
        try:
            connection.reply({"path": str(await self._copies.acquire(uri))})
        except StorageError as e:
            connection.reply({"error": str(e)})

    async def _small_file(self, connection: Connection, message: Mapping[str, Any]) -> None:
        def work() -> str | None:
            storage, path = resolve(str(message["uri"]))
            path = f"{path}/{message['name']}"
            if message["t"] == "write":
                storage.write(path, str(message["text"]).encode())
                return None
            try:
                return storage.read(path).decode()
            except StorageNotFoundError:
                return None

        try:
            connection.reply({"text": await asyncio.to_thread(work)})
        except (StorageError, ValueError) as e:
            connection.reply({"error": str(e)})

    # --- the lead ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Beat until the lead has said goodbye, or the attempt cannot go on (`fatal`)."""
        begun = time.monotonic()
        while True:
            try:
                sent = self.beat()
                orders = await self._link.exchange(sent)
            except LinkDownError as e:
                if self._lead_is_lost(begun, e):
                    return
            else:
                self._last_seen = time.monotonic()
                await self._follow(orders)
                if orders.goodbye and sent.done:
                    return
            busy = not self._orders.ready or bool(self._staged) or self.done
            await self._nap(_BUSY_BEAT_S if busy else _CALM_BEAT_S)

    def beat(self) -> Beat:
        """This pod's state now."""
        offers = (Offer(round_, rank, staged.sizes) for (round_, rank), staged in sorted(self._staged.items()))
        return Beat(
            run_id=self._config.run_id,
            attempt=self._config.attempt,
            node_rank=self._config.node_rank,
            ranks=tuple(self.ranks.values()),
            offers=tuple(offers),
            stored={round_: dict(files) for round_, files in self._stored.items()},
            torn=dict(self._torn),
            shares_storage=self._shares_storage,
            failure=self.failure,
            done=self.done,
        )

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
        return not self._staged and not self._uploads

    def close(self) -> None:
        """Stop uploads that still run."""
        for task in [*self._uploads.values(), *self._background]:
            task.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _nap(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except asyncio.TimeoutError:
            pass
        self._wake.clear()

    def _lead_is_lost(self, begun: float, error: LinkDownError) -> bool:
        now = time.monotonic()
        quiet = now - (self._last_seen or begun)
        limit = self._config.lead_lost_s if self._last_seen else self._config.lead_start_s
        if quiet <= limit:
            return False
        if self.done:
            return True  # the lead got the last word or is gone; either way nothing waits here
        said = "was lost" if self._last_seen else "never answered"
        self._fail(LeadLostError(f"the lead agent (pod 0) {said} for {quiet:.0f} s: {error}"))
        return True

    async def _follow(self, orders: Orders) -> None:
        was = self.ready, self._orders.stop, self.idle
        self._orders = orders
        if orders.ready and orders.marker and not self._marker_read:
            try:
                self._shares_storage = await asyncio.to_thread(self._read_marker, orders)
                self._marker_read = True
            except AgentError as e:
                self._fail(e)
        for key in [key for key in self._staged if key[0] <= orders.settled]:
            self._staged.pop(key).remove()
            self._stored.pop(key[0], None)
            self._torn.pop(key[0], None)
        for upload in orders.uploads:
            if upload.round not in self._uploads and any(key[0] == upload.round for key in self._staged):
                self._uploads[upload.round] = asyncio.create_task(self._upload(upload))
        for round_ in [r for r, task in self._uploads.items() if task.done() and r <= orders.settled]:
            del self._uploads[round_]
        if was != (self.ready, orders.stop, self.idle):
            self._changed()

    def _fail(self, error: AgentError) -> None:
        if self.fatal is None:
            self.fatal = error
        self._changed()

    def _open_storage(self) -> tuple[Storage, str]:
        storage, base = resolve(self._config.storage_path)
        return storage, base.rstrip("/")

    def _read_marker(self, orders: Orders) -> bool:
        """Whether this pod sees what the lead wrote."""
        if self._config.is_lead:
            return True
        try:
            storage, base = self._open_storage()
            run = f"{base}/{self._config.experiment_name}"

            def look() -> bool:
                try:
                    seen = orders.token.encode() in storage.read(f"{run}/{orders.marker}")
                except StorageNotFoundError:
                    return False
                if seen:
                    storage.check(run)
                return seen

            shared = retry.call(look, patience_s=_START_PATIENCE_S, on_retry=log.retrying("storage"))
        except StorageError as e:
            raise StorageFailedError(f"pod {self._config.node_rank}: {e}") from e
        if not shared and storage.scheme != "file":
            raise StorageFailedError(
                f"pod {self._config.node_rank} does not see what pod 0 wrote to {storage.uri(run)}: is it the same"
                " endpoint and bucket in every pod?"
            )
        if not shared:
            log.say(f"warning: {run} is not shared with pod 0; checkpoints cannot be stored")
        return shared

    # --- uploads -------------------------------------------------------------------------------

    async def _upload(self, upload: Upload) -> None:
        """Store this pod's part of one round."""
        loop = asyncio.get_running_loop()
        storage, base = self._open_storage()
        target = f"{base}/{self._config.experiment_name}/{upload.directory}"
        stored = self._stored.setdefault(upload.round, {})

        async def one(staged: staging.Staged, name: str) -> None:
            about = await loop.run_in_executor(self._pool, _store, storage, staged, name, f"{target}/{name}")
            if about is None:
                self._torn[upload.round] = (
                    f"{name} was written again while it was being stored. Give every report its own directory"
                    " (tempfile.TemporaryDirectory)"
                )
            else:
                stored[name] = about

        work = [
            one(self._staged[upload.round, rank], name)
            for rank, names in upload.files.items()
            for name in names
            if (upload.round, rank) in self._staged
        ]
        try:
            await asyncio.gather(*work)
        except StorageError as e:
            self._fail(StorageFailedError(str(e)))
        except OSError as e:
            self._fail(StorageFailedError(f"cannot read a file of {upload.directory} in {self.staging}: {e}"))
        self._wake.set()


def _store(storage: Storage, staged: staging.Staged, name: str, path: str) -> dict[str, Any] | None:
    """Upload one file; None when it is not what was reported."""
    local = str(staged.directory / name)
    if staged.changed(name):
        return None
    sums = checksum.of_file(local)
    retry.call(
        lambda: storage.put_file(local, path),
        patience_s=transfer.PATIENCE_S,
        on_retry=log.retrying("upload"),
    )
    return None if staged.changed(name) else {"size": staged.files[name][0], **sums}


def _step(metrics: Mapping[str, Any]) -> int | None:
    for key in ("step", "global_step"):
        value = metrics.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return int(value)
    return None
