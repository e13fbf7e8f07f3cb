"""A third of what repeats the rest: which third, a text decides that changes with every commit."""

from __future__ import annotations

import zlib


def in_third(sample: str, what: str) -> bool:
    """Whether `what` is in the third that `sample` chooses."""
    return zlib.crc32(f"{sample} {what}".encode()) % 3 == 0
