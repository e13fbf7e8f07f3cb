"""Run directories as an agent leaves them, in any store, written without one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paceline.storage import Storage, resolve, transfer


class Run:
    """A run directory. `uri` names it; each method writes what an agent would have written."""

    def __init__(self, uri: str, filesystem: Any = None) -> None:
        self.uri = uri
        self.storage: Storage
        self.storage, self.path = resolve(uri, filesystem) if filesystem is not None else resolve(uri)

    def reports(self, *metrics: Mapping[str, Any], cut: str = "") -> Run:
        """`result.json` and `params.json`; `cut` is a last line without its end."""
        lines = [
            json.dumps({**told, "step": i, "time": f"2026-01-02T03:04:{i:02}Z", "attempt": 0, "iteration": i})
            for i, told in enumerate(metrics, start=1)
        ]
        self.put("result.json", "".join(f"{line}\n" for line in lines) + cut)
        return self.put("params.json", json.dumps({"command": ["python", "train.py"], "world_size": 2}))

    def checkpoint(
        self,
        index: int,
        files: Mapping[str, bytes] | None = None,
        *,
        committed: bool = True,
        name: str = "",
        external: Mapping[str, str] | None = None,
        **metrics: Any,
    ) -> Run:
        """A checkpoint directory; the commit has the true sizes and sums of `files`."""
        directory = name or f"checkpoint_{index:06d}"
        given = {"model.pt": f"weights {index}".encode()} if files is None else files
        with tempfile.TemporaryDirectory() as local:
            for file, content in given.items():
                (Path(local) / file).parent.mkdir(parents=True, exist_ok=True)
                (Path(local) / file).write_bytes(content)
            about = transfer.upload_directory(self.storage, Path(local), f"{self.path}/{directory}")
        if not committed:
            return self
        commit: dict[str, Any] = {
            "index": index,
            "attempt": 0,
            "step": index * 10,
            "time": f"2026-01-02T03:04:{index:02}.000Z",
            "metrics": metrics,
            "world_size": 2,
            "files": about,
            "ranks": [0, 1],
            "run_id": "run-1",
            "iteration": index + 1,
        }
        if name:
            commit["directory"] = name
        if external:
            commit["external"] = dict(external)
        return self.put(f"{directory}/.paceline.json", json.dumps(commit))

    def failed(self, **failure: Any) -> Run:
        """`.paceline/error.json`."""
        return self.put(".paceline/error.json", json.dumps({"message": "boom", "reason": "Error", **failure}))

    def put(self, name: str, content: str | bytes) -> Run:
        """Any file."""
        self.storage.write(f"{self.path}/{name}", content.encode() if isinstance(content, str) else content)
        return self
