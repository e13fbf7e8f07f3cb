"""A checksum per file, recorded in a checkpoint's commit.

CRC-32C where a compiled implementation is installed (google-crc32c, or awscrt with boto3); the standard library has
none, and pure Python reads a few MB/s, which would hold a large checkpoint back for minutes. Elsewhere zlib's CRC-32,
under its own name, so that no reader compares the wrong sums. Both can be joined from the sums of parts, so that
parallel transfers know the sum of the whole without a second read.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

_CHUNK = 1024 * 1024
# Reversed, as tables of both have them.
_POLYNOMIALS = {"crc32c": 0x82F63B78, "crc32": 0xEDB88320}

Extend = Callable[[bytes, int], int]


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of checksum; `name` is its key in a commit."""

    name: str
    extend: Extend  # (data, value so far) -> value

    def join(self, parts: Iterable[tuple[int, int]]) -> int:
        """The value of the whole from (value, length in bytes) of its parts in order."""
        whole = 0
        for value, length in parts:
            # Of a file in one part there is nothing to move.
            whole = (_multiply(_shift(length, self.name), whole, _POLYNOMIALS[self.name]) if whole else 0) ^ value
        return whole


def best() -> Kind:
    """The kind that this machine records."""
    return known("crc32c") or Kind("crc32", zlib.crc32)


def known(name: str) -> Kind | None:
    """The kind of this name, or None where it cannot be computed fast here."""
    if name == "crc32":
        return Kind(name, zlib.crc32)
    extend = _crc32c() if name == "crc32c" else None
    return Kind(name, extend) if extend else None


def comparable(about: Mapping[str, Any]) -> Kind:
    """Of the sums in a file's entry of a commit one that this machine can compute, else the kind that it records."""
    return next((kind for name in about if (kind := known(name)) is not None), None) or best()


def text(value: int) -> str:
    """As a commit holds it: eight hex digits."""
    return f"{value:08x}"


def of_file(path: str | Path) -> dict[str, str]:
    """`{"crc32c": "1a2b3c4d"}` or `{"crc32": ...}`: eight hex digits.

    Raises:
        OSError: The file cannot be read.
    """
    kind = best()
    return {kind.name: text(_sum(path, kind.extend))}


def matches(path: str | Path, recorded: Mapping[str, Any]) -> bool | None:
    """Whether the file has the sum in its entry of a commit; None when this machine cannot compute that kind."""
    for name, wanted in recorded.items():
        kind = known(name)
        if kind is not None:
            return text(_sum(path, kind.extend)) == str(wanted)
    return None


def _sum(path: str | Path, extend: Extend) -> int:
    value = 0
    with Path(path).open("rb", buffering=0) as f:
        while chunk := f.read(_CHUNK):
            value = extend(chunk, value)
    return value


@lru_cache(maxsize=1)
def _crc32c() -> Extend | None:
    try:
        google = importlib.import_module("google_crc32c")
        if google.implementation == "c":
            extend = google.extend
            return lambda data, value: int(extend(value, data))
    except ImportError:
        pass
    try:
        return importlib.import_module("awscrt.checksums").crc32c  # type: ignore[no-any-return]
    except ImportError:
        return None


@lru_cache(maxsize=4096)
def _shift(length: int, name: str) -> int:
    """x^(8 * length) modulo the polynomial: what `length` more bytes do to a sum."""
    polynomial = _POLYNOMIALS[name]
    result, square = 1 << 31, 1 << 23  # x^0 and x^8; the highest bit is the lowest power
    while length:
        if length & 1:
            result = _multiply(square, result, polynomial)
        square = _multiply(square, square, polynomial)
        length >>= 1
    return result


def _multiply(a: int, b: int, polynomial: int) -> int:
    """Product of two polynomials over GF(2), modulo a third, bits reversed."""
    product = 0
    for power in range(31, -1, -1):
        if a >> power & 1:
            product ^= b
        b = (b >> 1) ^ polynomial if b & 1 else b >> 1
    return product
