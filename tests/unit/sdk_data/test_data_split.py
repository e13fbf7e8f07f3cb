"""Every rank the same number of rows, no row twice: for any layout of row groups and any number of ranks."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.data import _split
from paceline.data._split import Piece, Stretch

layouts = st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=6)


def rows_of(stretch: Stretch, counts: list[list[int]]) -> list[tuple[int, int]]:
    """Row numbers within the file."""
    begin = sum(counts[stretch.unit][: stretch.first]) + stretch.skip
    assert stretch.skip + stretch.rows <= sum(counts[stretch.unit][stretch.first : stretch.last])
    return [(stretch.unit, row) for row in range(begin, begin + stretch.rows)]


@given(layouts, st.integers(1, 7), st.integers(0, 20), st.randoms())
@settings(max_examples=300, deadline=None)
def test_the_ranks_share_the_rows_evenly_whatever_the_layout(
    counts: list[list[int]], world_size: int, at_once: int, random: object
) -> None:
    order = _split.pieces(counts)
    random.shuffle(order)  # type: ignore[attr-defined]
    total = sum(map(sum, counts))
    found = []
    for rank in range(world_size):
        start, stop = _split.part(total, rank, world_size)
        mine = _split.stretches(order, start, stop, lambda unit: at_once)
        assert sum(stretch.rows for stretch in mine) == total // world_size
        found += [row for stretch in mine for row in rows_of(stretch, counts)]
    assert len(found) == len(set(found)) == total - total % world_size


def test_a_rank_reads_the_pieces_of_its_range_alone() -> None:
    order = _split.pieces([[4, 4, 4], [0, 4]])
    assert _split.stretches(order, 6, 14) == [Stretch(0, 1, 2, 2, 2), Stretch(0, 2, 3, 0, 4), Stretch(1, 1, 2, 0, 2)]


def test_neighbouring_pieces_of_a_file_are_read_in_one_go_up_to_a_size() -> None:
    order = _split.pieces([[4, 4, 4, 4], [4]])
    assert _split.stretches(order, 1, 20, lambda unit: 8) == [
        Stretch(0, 0, 2, 1, 7),
        Stretch(0, 2, 4, 0, 8),
        Stretch(1, 0, 1, 0, 4),
    ]
    assert order[0] == Piece(0, 0, 4)
