"""Storing this pod's share of each round."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from paceline.agent import log
from paceline.agent.beat import Upload
from paceline.agent.errors import AgentError, StorageFailedError
from paceline.agent.staging import Staged
from paceline.agent.stores import Stores
from paceline.storage import Storage, StorageError, transfer

_FILES_AT_ONCE = 16


class Uploads:
    """Used from the event loop; the files go in threads."""

    def __init__(
        self,
        stores: Stores,
        *,
        progress: transfer.Progress,
        advanced: Callable[[], None],
        failed: Callable[[AgentError], None],
    ) -> None:
        """Prepare.

        Args:
            progress: Counts what is stored.
            advanced: Called when the lead should hear of something.
            failed: Told what the run cannot go on with.
        """
        self._stores = stores
        self._progress = progress
        self._advanced = advanced
        self._failed = failed
        self._stored: dict[int, dict[str, Mapping[str, Any]]] = {}
        self._torn: dict[int, str] = {}
        self._settled = -1
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._pool = ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="paceline-store")

    @property
    def idle(self) -> bool:
        """Whether no round is on its way."""
        return not self._tasks

    @property
    def stored(self) -> dict[int, dict[str, Mapping[str, Any]]]:
        """Round -> file -> size and checksum, of what the store has."""
        return {round_: dict(files) for round_, files in self._stored.items()}

    @property
    def torn(self) -> dict[int, str]:
        """Round -> why it cannot be stored as it was reported."""
        return dict(self._torn)

    def begin(self, upload: Upload, staged: Mapping[int, Staged]) -> None:
        """Store a share (repeating it changes nothing).

        Args:
            staged: Rank -> what it gave with this round.
        """
        if upload.round not in self._tasks and staged:
            self._tasks[upload.round] = asyncio.create_task(self._store(upload, staged))

    def settle(self, settled: int) -> None:
        """Forget the rounds up to this one."""
        self._settled = settled
        self._stored = {n: files for n, files in self._stored.items() if n > settled}
        self._torn = {n: why for n, why in self._torn.items() if n > settled}
        for round_ in [n for n, task in self._tasks.items() if n <= settled and task.done()]:
            del self._tasks[round_]

    def close(self) -> None:
        """Stop what still runs."""
        for task in self._tasks.values():
            task.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _store(self, upload: Upload, staged: Mapping[int, Staged]) -> None:
        loop = asyncio.get_running_loop()
        stored = self._stored.setdefault(upload.round, {})

        async def one(given: Staged, name: str) -> None:
            if upload.round <= self._settled:
                return  # given up: its files are gone
            path = f"{run}/{upload.directory}/{name}"
            about = await loop.run_in_executor(self._pool, _put, storage, given, name, path, self._progress)
            if about is not None:
                stored[name] = about
                return
            self._torn[upload.round] = (
                f"{name} was written again while it was being stored. Give every report its own directory"
                " (tempfile.TemporaryDirectory)"
            )

        try:
            storage, run = await loop.run_in_executor(self._pool, self._stores.run)
            work = (one(staged[rank], name) for rank, names in upload.files.items() if rank in staged for name in names)
            await asyncio.gather(*work)
        except (StorageError, OSError) as e:
            if upload.round > self._settled:
                what = "" if isinstance(e, StorageError) else f"cannot read a staged file of {upload.directory}: "
                self._failed(StorageFailedError(f"{what}{e}"))
        self._advanced()


def _put(
    storage: Storage, staged: Staged, name: str, path: str, progress: transfer.Progress
) -> Mapping[str, Any] | None:
    """Upload one file; None when it is not what was reported."""
    if staged.changed(name):
        return None
    try:
        about = transfer.put_file(
            storage, staged.path(name), path, progress=progress, on_retry=log.retrying(f"upload of {name}")
        )
    except (StorageError, OSError):
        if staged.changed(name):  # that is why
            return None
        raise
    return None if staged.changed(name) else about
