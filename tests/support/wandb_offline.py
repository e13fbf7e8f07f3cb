"""What W&B wrote to disk while it was offline: its own log files, record by record.

A file is a header of 7 bytes and then LevelDB's log format: blocks of 32 KiB, in each chunks of 4 bytes checksum,
2 bytes length, 1 byte type (1 whole, 2 first, 3 middle, 4 last part of a record). A record is W&B's protobuf message.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HEADER = 7
_BLOCK = 32 * 1024
_CHUNK = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = range(1, 5)


@dataclass(frozen=True, slots=True)
class OfflineRun:
    """One offline directory: what one process logged."""

    run_id: str
    project: str
    name: str
    config: dict[str, Any]
    history: list[dict[str, Any]]
    group: str
    exit_code: int | None
    """None where the process ended without finishing the run."""


def runs(directory: Path) -> list[OfflineRun]:
    """Read all offline runs below a directory of which something is written, oldest first."""
    found = [_read(path) for path in sorted(directory.rglob("offline-run-*/*.wandb"))]
    return [run for run in found if run is not None]


def read(path: Path) -> OfflineRun:
    """Read one `.wandb` file."""
    run = _read(path)
    assert run is not None, f"{path} tells of no run"
    return run


def _read(path: Path) -> OfflineRun | None:
    from wandb.proto import wandb_internal_pb2

    told: Any = None
    config: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    exit_code = None
    for data in records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            told = record.run
            config |= _values(record.run.config.update)
        elif kind == "config":
            config |= _values(record.config.update)
        elif kind == "history":
            history.append(_values(record.history.item))
        elif kind == "exit":
            exit_code = record.exit.exit_code
    if told is None:
        return None
    return OfflineRun(told.run_id, told.project, told.display_name, config, history, told.run_group, exit_code)


def records(content: bytes) -> Iterator[bytes]:
    """Split a file into its records. What a killed process left half written at the end is left out."""
    if not content:
        return
    assert content[:4] == b":W&B", content[:_HEADER]
    at, parts = _HEADER, b""
    while at + _CHUNK.size <= len(content):
        left = _BLOCK - at % _BLOCK
        if left < _CHUNK.size:  # the rest of a block that no header fits in
            at += left
            continue
        _, length, kind = _CHUNK.unpack_from(content, at)
        chunk = content[at + _CHUNK.size : at + _CHUNK.size + length]
        if kind not in range(_WHOLE, _LAST + 1) or len(chunk) < length:
            return
        at += _CHUNK.size + length
        parts = chunk if kind in (_WHOLE, _FIRST) else parts + chunk
        if kind in (_WHOLE, _LAST):
            yield parts


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
