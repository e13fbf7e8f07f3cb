"""Artifacts that vanish between being found and being stored."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from paceline.agent.artifacts import Artifacts
from paceline.agent.config import AgentConfig, ArtifactSync
from paceline.agent.stores import Stores
from paceline.storage import Storage
from paceline.storage._local import LocalStorage


class LateStores:
    """The store is there only once a file has been deleted."""

    def __init__(self, run: Path, gone: Path) -> None:
        self._run, self._gone = run, gone

    def run(self) -> tuple[Storage, str]:
        self._gone.unlink(missing_ok=True)
        return LocalStorage(), str(self._run)


async def test_a_file_that_is_deleted_meanwhile_is_neither_stored_nor_told(tmp_path: Path) -> None:
    work, run = tmp_path / "work", tmp_path / "run"
    work.mkdir()
    (work / "kept").write_text("1")
    (work / "gone").write_text("2")
    config = AgentConfig(("x",), tmp_path, world_size=2, storage_path=str(tmp_path), artifacts=ArtifactSync(sync=True))
    artifacts = Artifacts(config, cast(Stores, LateStores(run, work / "gone")))
    artifacts.watch(work)
    await artifacts.sync()
    assert (artifacts.stored, artifacts.failed, artifacts.to_tell()) == (1, 0, ("kept",))
    assert [path.name for path in (run / "artifacts").iterdir()] == ["kept"]
