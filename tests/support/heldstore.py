"""A filesystem object that a test drives: uploads of checkpoint files wait while a file named `hold` lies beside it."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from tests.support.timeouts import AGENT_RUN_S

ROOT = Path(__file__).resolve().parents[2]


class HeldFileSystem(DirFileSystem):  # type: ignore[misc]
    """This machine's disk, with a brake. Paths are below `/`."""

    def __init__(self, hold: str, **options: Any) -> None:
        super().__init__(path="/", fs=LocalFileSystem(), **options)
        self.hold = hold

    def put_file(self, lpath: str, rpath: str, *args: Any, **options: Any) -> None:
        """Store one file; those of checkpoints wait."""
        end = time.monotonic() + AGENT_RUN_S
        while "/checkpoint_" in rpath and Path(self.hold).exists() and time.monotonic() < end:
            time.sleep(0.02)
        super().put_file(lpath, rpath, *args, **options)


def environment(directory: Path) -> dict[str, str]:
    """For a job whose store waits while `directory/hold` exists."""
    file = directory / "filesystem.pickle"
    file.write_bytes(pickle.dumps(HeldFileSystem(str(directory / "hold"))))
    return {
        "PACELINE_STORAGE_FILESYSTEM": str(file),
        "PYTHONPATH": f"{ROOT / 'sdk'}:{ROOT}",
    }
