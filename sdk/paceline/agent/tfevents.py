"""TensorBoard's event file, written without TensorBoard: the agent runs in images that do not have it.

The file is a sequence of TFRecords (length, masked CRC-32C of the length, data, masked CRC-32C of the data); each holds
one `tensorflow.Event` message: wall_time = 1 (double), step = 2 (int64), file_version = 3 (string), summary = 5, whose
values = 1 have a tag = 1 (string) and a simple_value = 2 (float). The format has been the same since 2015.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from paceline import _contract as c
from paceline._metrics import flat, numbers_again

_VERSION = b"brain.Event:2"
_FLOAT_MAX = 3.4028234663852886e38


def file_name(time: float, host: str) -> str:
    """`events.out.tfevents.<seconds>.<host>`: what TensorBoard looks for."""
    return f"{c.EVENTS_PREFIX}.{int(time):010d}.{host}"


def header(time: float) -> bytes:
    """The first record of a file."""
    return record(_double(1, time) + _bytes(3, _VERSION))


def event(time: float, step: int, scalars: Iterable[tuple[str, float]]) -> bytes:
    """A record with the scalars of one step; empty when there are none.

    Args:
        time: Seconds since the epoch.
        scalars: As the function of this name gives them.
    """
    values = b"".join(_value(tag, value) for tag, value in scalars)
    if not values:
        return b""
    return record(_double(1, time) + b"\x10" + _varint(step & 0xFFFFFFFFFFFFFFFF) + _bytes(5, values))


def _value(tag: str, value: float) -> bytes:
    return _bytes(1, _bytes(1, tag.encode(errors="replace")) + b"\x15" + struct.pack("<f", value))


def scalars(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers and bools of a report; nested ones as `a/b`. NaN and infinity come as JSON has them: as strings."""
    for name, value in flat(metrics):
        number = numbers_again(value) if isinstance(value, str) else value
        if isinstance(number, int | float):
            yield name, _float(number)


def record(data: bytes) -> bytes:
    """One TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """CRC-32C in pure Python: records have some hundred bytes, and an image may have no compiled implementation."""
    table, crc = _TABLE, 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _table() -> tuple[int, ...]:
    made = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ 0x82F63B78 if number & 1 else number >> 1
        made.append(number)
    return tuple(made)


_TABLE = _table()


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _float(value: float) -> float:
    """What fits into 32 bits; an int may be beyond every float."""
    if abs(value) <= _FLOAT_MAX or value != value:
        return float(value)
    return math.inf if value > 0 else -math.inf
