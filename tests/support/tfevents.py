"""Reads TensorBoard's event files, written from the format's description and sharing nothing with the writer."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import google_crc32c


def read_events(path: Path) -> list[tuple[int, dict[str, float]]]:
    """(step, tag -> value) of every event with a summary; sums are checked."""
    events = []
    for number, data in enumerate(records(path.read_bytes())):
        fields = list(_fields(data))
        if number == 0:
            assert (3, b"brain.Event:2") in fields
            continue
        step = next((value for field, value in fields if field == 2), 0)
        summary = next(value for field, value in fields if field == 5)
        assert isinstance(step, int)
        assert isinstance(summary, bytes)
        events.append((step, dict(_value(value) for field, value in _fields(summary) if field == 1)))
    return events


def records(data: bytes) -> Iterator[bytes]:
    """The TFRecords of a file."""
    while data:
        head, data = data[:12], data[12:]
        (length,) = struct.unpack("<Q", head[:8])
        assert head[8:] == _masked(head[:8])
        body, sum_, data = data[:length], data[length : length + 4], data[length + 4 :]
        assert sum_ == _masked(body)
        yield body


def _masked(data: bytes) -> bytes:
    crc = int(google_crc32c.value(data))
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32)


def _value(data: bytes | int) -> tuple[str, float]:
    assert isinstance(data, bytes)
    fields = dict(_fields(data))
    tag, number = fields[1], fields[2]
    assert isinstance(tag, bytes)
    assert isinstance(number, bytes)
    return tag.decode(), float(struct.unpack("<f", number)[0])


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            number, at = _varint(data, at)
            yield key >> 3, number
            continue
        if kind == 2:
            length, at = _varint(data, at)
        else:
            length = {1: 8, 5: 4}[kind]
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
