"""Files that the processes write into their working directory, stored beside the checkpoints.

They are a courtesy: one that cannot be stored is a warning and a figure, and nothing waits for them but the end of the
pod, within its grace period. What the processes only found there (links into the image) is none of them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from paceline import _contract as c
from paceline.agent import log
from paceline.agent.config import AgentConfig
from paceline.agent.stores import Stores
from paceline.agent.waiting import until_set
from paceline.storage import Storage, StorageError, transfer

# Few: checkpoints go first.
_FILES_AT_ONCE = 4
_TOLD_AT_ONCE = 1000
_PATIENCE_S = 60.0

Mark = tuple[int, int, int]  # size in bytes, modification time in ns, inode


class Artifacts:
    """Of one pod. Used from the event loop; files go in threads."""

    def __init__(self, config: AgentConfig, stores: Stores, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._stores = stores
        self._clock = clock
        self._directory: Path | None = None
        self._seen: dict[str, Mark] = {}  # as they are in the store
        self._untold: dict[str, None] = {}
        self._asked = asyncio.Event()
        self._running = asyncio.Lock()
        self.stored = 0
        self.failed = 0

    @property
    def wanted(self) -> bool:
        """Whether this run stores artifacts."""
        return self._config.artifacts.sync and bool(self._config.storage_path)

    def watch(self, directory: Path) -> None:
        """The processes run in `directory`."""
        self._directory = directory

    def checkpoint_settled(self) -> None:
        """A checkpoint has come to exist, or has been given up."""
        if self._config.artifacts.on_checkpoint:
            self._asked.set()

    def to_tell(self) -> tuple[str, ...]:
        """Names for the next beat; the lead finds those that several pods use."""
        return tuple(list(self._untold)[:_TOLD_AT_ONCE]) if self._config.nodes > 1 else ()

    def told(self, names: tuple[str, ...]) -> None:
        """The lead knows these now."""
        for name in names:
            self._untold.pop(name, None)

    async def serve(self) -> None:
        """Store what has changed, every period and when asked; until cancelled."""
        while self.wanted:
            await until_set(self._asked, self._config.artifacts.period_s)
            self._asked.clear()
            await self.sync()

    async def sync(self) -> None:
        """Store what has changed since the last time, within the time limit of one round. Never raises."""
        if not self.wanted or self._directory is None:
            return
        deadline = self._clock() + self._config.artifacts.timeout_s
        async with self._running:
            changed = await asyncio.to_thread(self._changed)
            if changed:
                await self._store(changed, deadline)

    def _changed(self) -> dict[str, Mark]:
        assert self._directory is not None
        return {name: mark for name, mark in scan(self._directory) if self._seen.get(name) != mark}

    async def _store(self, changed: Mapping[str, Mark], deadline: float) -> None:
        loop = asyncio.get_running_loop()
        pool = ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="paceline-artifacts")
        errors: list[str] = []
        try:
            storage, run = await loop.run_in_executor(pool, self._stores.run)
            work = {
                loop.run_in_executor(pool, self._put, storage, f"{run}/{c.ARTIFACTS_DIR}", name, deadline): name
                for name in sorted(changed)
            }
            done, late = await asyncio.wait(work, timeout=max(0.0, deadline - self._clock()))
            for task in done:
                if error := task.exception():
                    self.failed += 1
                    errors.append(f"{work[task]}: {error}")
                elif task.result():
                    self._seen[work[task]] = changed[work[task]]
                    self._untold[work[task]] = None
                    self.stored += 1
            if late:
                self.failed += len(late)
                limit_s = self._config.artifacts.timeout_s
                errors.append(f"{len(late)} files were not stored within timeoutSeconds ({limit_s:g} s)")
        except StorageError as e:
            self.failed += len(changed)
            errors.append(str(e))
        finally:
            # A thread that hangs in a dead store is left to itself.
            pool.shutdown(wait=False, cancel_futures=True)
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            log.say(f"warning: artifacts were not stored, they are tried again next time: {errors[0]}{more}")

    def _put(self, storage: Storage, target: str, name: str, deadline: float) -> bool:
        """Whether there was something to store: a file may be deleted after it was found."""
        assert self._directory is not None
        file = self._directory / name
        patience_s = max(1.0, min(_PATIENCE_S, deadline - self._clock()))

        def put(local: Path) -> None:
            transfer.put_file(
                storage, local, f"{target}/{name}", patience_s=patience_s, on_retry=log.retrying("artifacts")
            )

        before = _mark(file)
        if before is None:
            return False
        try:
            put(file)
        except StorageError:
            if _mark(file) == before:
                raise
            # Somebody writes into it all the time (a log): store it as it is at one moment.
            with tempfile.TemporaryDirectory(dir=self._config.directory) as directory:
                put(Path(shutil.copyfile(file, Path(directory) / "copy")))
        return True


def scan(directory: Path) -> Iterator[tuple[str, Mark]]:
    """Regular files below, with `/` in their names; links are not followed."""
    for root, directories, names in os.walk(directory):
        directories.sort()
        for name in names:
            file = Path(root) / name
            if mark := _mark(file):
                yield file.relative_to(directory).as_posix(), mark


def _mark(file: Path) -> Mark | None:
    try:
        found = file.lstat()
    except OSError:  # gone meanwhile
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino
