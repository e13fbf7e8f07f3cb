"""Broken variants of the protocol, one mistake each: the invariant checker must catch every one of them."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any


def install(name: str) -> None:
    """Break this agent. The variants are written against `Checkpoints` and the store, the seams that stay."""
    from paceline import _contract as c
    from paceline.agent import attempts
    from paceline.agent.commits import Checkpoints, Commit
    from paceline.agent.errors import FencedError
    from paceline.storage import checksum, transfer
    from paceline.storage._local import LocalStorage

    if name == "uploads-told-before-they-are-stored":
        put = transfer.put_file

        def put_later(storage: Any, local: Any, path: str, **options: Any) -> Any:
            if "/checkpoint_" not in path:
                return put(storage, local, path, **options)
            data = Path(local).read_bytes()

            def work() -> None:
                time.sleep(0.5)  # longer than a lead on busy cores takes to commit
                storage.write(path, data)

            threading.Thread(target=work, daemon=True).start()
            return {"size": len(data), **checksum.of_file(local)}

        transfer.put_file = put_later
        Checkpoints.commit = _commit_without_looking  # type: ignore[method-assign]
    elif name == "commit-file-before-the-decision":

        def commit(self: Any, commit: Commit) -> Commit:
            directory = f"{self._run}/{commit.directory}"
            attempts.check(self._storage, self._run, self._owner)
            data = json.dumps(commit.to_json()).encode()
            self._storage.create_if_absent(f"{directory}/{c.COMMIT_FILE}", data)
            if not self._storage.create_if_absent(self._state("decisions", commit.index), data):
                raise FencedError("abandoned")
            return Commit.from_json(commit.to_json(), self._storage.uri(directory))

        Checkpoints.commit = commit  # type: ignore[method-assign]
    elif name == "commit-file-in-place":
        create = LocalStorage.create_if_absent

        def in_place(self: LocalStorage, path: str, data: bytes) -> bool:
            if not path.endswith(f"/{c.COMMIT_FILE}"):
                return create(self, path, data)
            try:
                with open(path, "xb") as f:  # noqa: PTH123
                    f.write(data[: len(data) // 2])
                with open(path, "ab") as f:  # noqa: PTH123
                    f.write(data[len(data) // 2 :])
            except FileExistsError:
                return False
            return True

        LocalStorage.create_if_absent = in_place  # type: ignore[method-assign]
    elif name == "retention-deletes-files-first":

        def delete(self: Any, index: int, name: str = "") -> None:
            for entry in list(self._storage.files(_directory(self, index))):
                if entry.name != c.COMMIT_FILE:
                    self._storage.delete(f"{_directory(self, index)}/{entry.name}")
            self._storage.delete(f"{_directory(self, index)}/{c.COMMIT_FILE}")
            self._storage.delete_directory(_directory(self, index))
            self._storage.delete(self._state("decisions", index))
            self._storage.delete(self._state("claims", index))

        Checkpoints.delete = delete  # type: ignore[method-assign]
    elif name == "no-fence":

        def unchecked(self: Any, commit: Commit) -> Commit:
            directory = f"{self._run}/{commit.directory}"
            data = json.dumps(commit.to_json()).encode()
            self._storage.create_if_absent(self._state("decisions", commit.index), data)
            self._storage.create_if_absent(f"{directory}/{c.COMMIT_FILE}", data)
            return Commit.from_json(commit.to_json(), self._storage.uri(directory))

        attempts.check = lambda *_: None
        Checkpoints.commit = unchecked  # type: ignore[method-assign]
    elif name == "recovery-deletes-before-it-settles":
        recover = Checkpoints.recover

        def hasty(self: Any) -> list[Commit]:
            for index in self._indexes():
                if self._storage.size(f"{_directory(self, index)}/{c.COMMIT_FILE}") is None:
                    self._storage.delete_directory(_directory(self, index))
            return recover(self)

        Checkpoints.recover = hasty  # type: ignore[method-assign]


def _directory(checkpoints: Any, index: int) -> str:
    return f"{checkpoints._run}/checkpoint_{index:06d}"


def _commit_without_looking(self: Any, commit: Any) -> Any:
    from paceline import _contract as c
    from paceline.agent import attempts
    from paceline.agent.commits import Commit
    from paceline.agent.errors import FencedError

    directory = f"{self._run}/{commit.directory}"
    attempts.check(self._storage, self._run, self._owner)
    data = json.dumps(commit.to_json()).encode()
    if not self._storage.create_if_absent(self._state("decisions", commit.index), data):
        raise FencedError("abandoned")
    self._storage.create_if_absent(f"{directory}/{c.COMMIT_FILE}", data)
    return Commit.from_json(commit.to_json(), self._storage.uri(directory))
