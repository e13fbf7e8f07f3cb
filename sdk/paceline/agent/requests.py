"""What processes ask of their agent beside reports: copies of remote checkpoints, and small files beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from paceline import _contract as c
from paceline.agent import log, names
from paceline.agent.channel import Connection
from paceline.agent.copies import SharedCopies
from paceline.agent.pending import Pending
from paceline.agent.stores import Stores
from paceline.storage import StorageError, StorageNotFoundError, retry

_PATIENCE_S = 30.0

Answerer = Callable[[], Awaitable[Mapping[str, Any]]]


class Requests:
    """Answers each request on the connection that it came by; a request ends with its process."""

    def __init__(self, stores: Stores, copies: SharedCopies, pending: Pending) -> None:
        self._stores = stores
        self._copies = copies
        self._pending = pending
        self._tasks: set[asyncio.Task[None]] = set()

    def received(self, connection: Connection, message: Mapping[str, Any], *, refused: str, report_name: str) -> None:
        """Take a request on; what is none is passed over.

        Args:
            refused: Why checkpoints cannot be stored at all; empty: they can.
            report_name: Names the rank's next report, the same on every rank.
        """
        match message["t"]:
            case "fetch":
                uri = str(message["uri"])
                # Released when the process closes this connection, or dies.
                connection.on_close.append(lambda: self._copies.release(uri))
                self._answer(connection, lambda: self._fetch(uri), cancel=False)
            case "read" | "write":
                self._answer(connection, lambda: asyncio.to_thread(self._small_file, message))
            case "room":
                # The quick way, on the connection of the reports: nobody waits here.
                connection.reply({"error": refused} if refused else {"room": self._pending.has_room()})
            case "admit":
                name = str(message.get("name") or "")
                self._answer(connection, lambda: self._admit(name, refused, report_name))
            case "space":
                self._answer(connection, self._space)
            case "settled":
                self._answer(connection, lambda: self._pending.outcome(int(message["round"])))

    def close(self) -> None:
        """Stop what still runs."""
        for task in list(self._tasks):
            task.cancel()

    def _answer(self, connection: Connection, work: Answerer, *, cancel: bool = True) -> None:
        async def answer() -> None:
            try:
                connection.reply(dict(await work()))
            except (StorageError, ValueError) as e:
                connection.reply({"error": str(e)})

        task = asyncio.create_task(answer())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if cancel:
            connection.on_close.append(task.cancel)

    async def _fetch(self, uri: str) -> Mapping[str, Any]:
        return {"path": str(await self._copies.acquire(uri))}

    async def _admit(self, name: str, refused: str, report_name: str) -> Mapping[str, Any]:
        refused = refused or (names.directory_problem(name) if name else "")
        if refused:
            return {"error": refused}
        taken = await asyncio.to_thread(self._is_taken, name) if name else False
        if taken:
            return {"error": f"checkpoint_dir_name={name!r} is the name of a committed checkpoint: take another name"}
        if why := await self._pending.room():
            return {"error": f"no checkpoint can be stored any more: {why}"}
        return {"name": name or report_name}

    async def _space(self) -> Mapping[str, Any]:
        return {"freed": await self._pending.freed()}

    def _is_taken(self, name: str) -> bool:
        storage, run = self._stores.run()
        path = f"{run}/{name}/{c.COMMIT_FILE}"
        found = retry.call(lambda: storage.size(path), patience_s=_PATIENCE_S, on_retry=log.retrying("storage"))
        return found is not None

    def _small_file(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        storage, path = self._stores.resolve(str(message["uri"]))
        path = f"{path}/{message['name']}"
        if message["t"] == "write":
            storage.write(path, str(message["text"]).encode())
            return {"text": None}
        try:
            return {"text": storage.read(path).decode()}
        except StorageNotFoundError:
            return {"text": None}
