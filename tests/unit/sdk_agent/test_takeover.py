"""The lead's first work on a store that answers each step at the second try only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paceline.agent import takeover
from paceline.agent.config import AgentConfig
from paceline.agent.errors import StorageFailedError
from paceline.agent.runfiles import RunFiles
from paceline.agent.stores import Stores
from paceline.storage import StorageError
from paceline.storage._local import LocalStorage


class Failing:
    """A store whose operations each fail the first time."""

    def __init__(self, *, retryable: bool) -> None:
        self._store = LocalStorage()
        self._retryable = retryable
        self.failed: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found) or name in ("uri", *self.failed):
            return found

        def fail(*_: Any, **__: Any) -> Any:
            self.failed.append(name)
            raise StorageError("the server restarts", retryable=self._retryable)

        return fail


class OneStore(Stores):
    """Stores of which there is one."""

    def __init__(self, config: AgentConfig, store: Any) -> None:
        super().__init__(config)
        self._one = store

    def run(self) -> tuple[Any, str]:
        return self._one, str(self._config.directory / "run")


def take(directory: Path, store: Failing) -> takeover.TakenOver:
    config = AgentConfig(("x",), directory, storage_path=str(directory), run_id="run-1")
    return takeover.take_over(config, OneStore(config, store), "token", RunFiles(directory / "files", attempt=0))


def test_a_store_that_comes_back_within_seconds_costs_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paceline.storage.retry.FIRST_WAIT_S", 0.001)
    store = Failing(retryable=True)
    taken = take(tmp_path, store)
    assert {"check", "files", "create_if_absent", "directories"} <= set(store.failed)
    assert taken.directory is not None
    assert (taken.directory.entry.attempt, taken.commits) == (0, ())


def test_a_store_that_refuses_is_told_at_once(tmp_path: Path) -> None:
    store = Failing(retryable=False)
    with pytest.raises(StorageFailedError, match="the server restarts"):
        take(tmp_path, store)
    assert store.failed == ["check"]
