"""A part of what repeats the rest: which part, a text decides that changes with every commit."""

from __future__ import annotations

import zlib


def chosen(sample: str, what: str, one_of: int) -> bool:
    """Whether `what` is in the part that `sample` chooses: one of so many, evenly spread."""
    return zlib.crc32(f"{sample} {what}".encode()) % one_of == 0
