"""A checksum per file, recorded in a checkpoint's commit.

CRC-32C where a compiled implementation is installed (google-crc32c, or awscrt with boto3); the standard library has
none, and pure Python reads a few MB/s, which would hold a large checkpoint back for minutes. Elsewhere zlib's CRC-32,
under its own name, so that no reader compares the wrong sums.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_CHUNK = 4 * 1024 * 1024

Extend = Callable[[bytes, int], int]


def of_file(path: str | Path) -> dict[str, str]:
    """`{"crc32c": "1a2b3c4d"}` or `{"crc32": ...}`: eight hex digits.

    Raises:
        OSError: The file cannot be read.
    """
    name, extend = _best()
    return {name: _sum(path, extend)}


def matches(path: str | Path, recorded: Mapping[str, Any]) -> bool | None:
    """Whether the file has the recorded sum; None when this machine cannot compute that kind."""
    for name, wanted in recorded.items():
        extend = _known(name)
        if extend is not None:
            return _sum(path, extend) == str(wanted)
    return None


def _sum(path: str | Path, extend: Extend) -> str:
    value = 0
    with Path(path).open("rb") as f:
        while chunk := f.read(_CHUNK):
            value = extend(chunk, value)
    return f"{value:08x}"


def _best() -> tuple[str, Extend]:
    crc32c = _known("crc32c")
    return ("crc32c", crc32c) if crc32c else ("crc32", zlib.crc32)


def _known(name: str) -> Extend | None:
    if name == "crc32":
        return zlib.crc32
    if name != "crc32c":
        return None
    try:
        google = importlib.import_module("google_crc32c")
        if google.implementation == "c":
            return lambda data, value: int(google.extend(value, data))
    except ImportError:
        pass
    try:
        return importlib.import_module("awscrt.checksums").crc32c  # type: ignore[no-any-return]
    except ImportError:
        return None
