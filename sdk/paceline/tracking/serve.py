"""`python -m paceline.tracking.serve --port 6006`: TensorBoard over the events of one run, wherever they are stored.

The event files are copied to a local directory, and what they grow by is added while this goes on; from a volume too:
there each write replaces the file, and TensorBoard would read on in the one that it has opened. PACELINE_STORAGE_PATH
and PACELINE_EXPERIMENT_NAME say which run, as in the pods of a TrainJob; the store's credentials are found as
everywhere.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from paceline import _contract as c
from paceline import _trackers
from paceline.agent.main import add_vendored_packages
from paceline.storage import RangeReader, Storage, StorageError, StorageNotFoundError, join, resolve
from paceline.tracking import _options
from paceline.tracking._options import say

_PERIOD_S = 10.0
_GONE_S = 5.0


class Copy:
    """Event files of a store, in a local directory under the same names."""

    def __init__(self, storage: Storage, path: str, directory: Path) -> None:
        self._storage = storage
        self._path = path
        self._directory = directory

    def update(self) -> int:
        """Fetch what is new; the number of files that have grown.

        Raises:
            StorageError: The store failed. What was fetched stays, and the next call goes on.
        """
        grown = 0
        for entry in self._storage.files(self._path):
            if not entry.name.rpartition("/")[2].startswith(c.EVENTS_PREFIX):
                continue
            local = self._directory / entry.name
            has = local.stat().st_size if local.exists() else 0
            if entry.size == has:
                continue
            local.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._fetch(entry.name, local, has if entry.size > has else 0, entry.size)
            except StorageNotFoundError:  # deleted meanwhile
                continue
            grown += 1
        return grown

    def _fetch(self, name: str, local: Path, begin: int, size: int) -> None:
        """Add what is behind `begin`: TensorBoard keeps the file open, and reads on."""
        path = f"{self._path}/{name}"
        if begin and isinstance(self._storage, RangeReader):
            data = self._storage.get_range(path, begin, size - begin)
        else:
            data = self._storage.read(path)[begin:]
        with local.open("ab" if begin else "wb") as f:
            f.write(data)


def run_directory(environ: Mapping[str, str]) -> str:
    """Path or URI of the run's directory.

    Raises:
        ValueError: The environment does not say.
    """
    for name in (c.STORAGE_PATH, c.EXPERIMENT_NAME):
        if not environ.get(name):
            raise ValueError(
                f"{name} is not set: in the image of the job, {c.STORAGE_PATH} is the run's storage path and"
                f" {c.EXPERIMENT_NAME} its name, as in the run's own pods"
            )
    return join(environ[c.STORAGE_PATH], environ[c.EXPERIMENT_NAME])


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM, which is a clean end; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m paceline.tracking.serve", description="TensorBoard of one run.")
    parser.add_argument("--port", type=_port, default=6006)
    parser.add_argument("--host", default="", help="an address of this machine; all of them unless given")
    parser.add_argument("--period", type=_seconds, default=_PERIOD_S, help="seconds between two looks at the store")
    given = parser.parse_args(arguments)
    add_vendored_packages()
    try:
        run = run_directory(os.environ)
        if find_spec("tensorboard") is None:
            raise ValueError(_options.missing(_trackers.TENSORBOARD))
        storage, path = resolve(run)
    except (ValueError, StorageError) as e:
        return _refuse(str(e), c.EXIT_INVALID_CONFIG)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with tempfile.TemporaryDirectory(prefix="paceline-tensorboard-") as directory:
        copy = Copy(storage, path.rstrip("/"), Path(directory))
        try:
            copy.update()
        except (StorageError, ImportError) as e:
            if not getattr(e, "retryable", False):
                return _refuse(f"the events of {run} cannot be read: {e}", c.EXIT_STORAGE)
            say(f"the events of {run} cannot be read now, and are tried again: {e}")
        return _serve(Path(directory), copy, given, ended)


def _serve(directory: Path, copy: Copy, given: argparse.Namespace, ended: threading.Event) -> int:
    address = ["--host", given.host] if given.host else ["--bind_all"]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(directory), "--port", str(given.port)]
    board = subprocess.Popen([*command, *address, "--reload_interval", "5"], stdin=subprocess.DEVNULL)

    def watch() -> None:
        board.wait()
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
    warned = ""
    while not ended.wait(given.period):
        warned = _update(copy, warned)
    if (code := board.poll()) is not None:
        say(f"tensorboard has ended with code {code}")
        return code if code > 0 else 1
    board.terminate()
    try:
        board.wait(_GONE_S)
    except subprocess.TimeoutExpired:
        board.kill()
        board.wait()
    return 0


def _update(copy: Copy, warned: str) -> str:
    """Fetch what is new; what hinders that is told once, and returned."""
    try:
        copy.update()
    except (StorageError, OSError) as e:
        if str(e) != warned:
            say(f"warning: no new events for now: {e}")
        return str(e)
    return ""


def _refuse(problem: str, code: int) -> int:
    say(problem)
    return code


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        _wrong(f"{text!r} is no port: use a number from 1 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        _wrong(f"{text!r} is no number of seconds above 0")
    return found


def _wrong(text: str) -> NoReturn:
    raise argparse.ArgumentTypeError(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
