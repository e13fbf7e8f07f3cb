"""Which rows are a rank's? Arithmetic on row counts alone.

A dataset is a sequence of pieces (row groups, record batches, whole files of text). Each rank gets a contiguous range
of its rows, all ranges equally long: a rank that had one batch more would wait for ever in the last all-reduce. Only
the pieces at the two ends of a range are read by two ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """What can be read without what stands before it."""

    unit: int  # which file
    number: int  # which of the file's pieces
    rows: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring pieces of one file, read in one go."""

    unit: int
    first: int
    last: int  # the one behind the last
    skip: int  # rows of the first piece that are another rank's
    rows: int  # after those


def pieces(counts: Sequence[Sequence[int]]) -> list[Piece]:
    """All pieces with rows in them, in order.

    Args:
        counts: For each file, the rows of its pieces.
    """
    return [Piece(u, n, rows) for u, unit in enumerate(counts) for n, rows in enumerate(unit) if rows]


def part(rows: int, rank: int, world_size: int) -> tuple[int, int]:
    """First row of a rank, and the one behind its last."""
    each = rows // world_size
    return rank * each, (rank + 1) * each


def stretches(
    order: Iterable[Piece], start: int, stop: int, at_once: Callable[[int], int] = lambda unit: 0
) -> list[Stretch]:
    """Cover the rows from `start` to `stop` of the pieces in this order.

    Args:
        order: All pieces.
        start: Counted from the first row of the first piece.
        stop: The row behind the last.
        at_once: For a file, up to how many rows neighbouring pieces are read together. 0: each alone.
    """
    found: list[Stretch] = []
    position = 0
    for piece in order:
        begin, end = max(start - position, 0), min(stop - position, piece.rows)
        position += piece.rows
        if begin >= end:
            if position >= stop:
                break
            continue
        new = Stretch(piece.unit, piece.number, piece.number + 1, begin, end - begin)
        before = found[-1] if found else None
        if before and _continues(before, new) and before.rows + new.rows <= at_once(piece.unit):
            found[-1] = Stretch(before.unit, before.first, new.last, before.skip, before.rows + new.rows)
        else:
            found.append(new)
    return found


def _continues(before: Stretch, new: Stretch) -> bool:
    return before.unit == new.unit and before.last == new.first and new.skip == 0
