"""Rows on their way: record batches of any size become batches of one size, mixed within a window where asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence

import pyarrow as pa

from paceline.data._opening import Opened
from paceline.data._prefetch import Started
from paceline.data._split import Stretch


def rows(opened: Opened, stretches: Sequence[Stretch], columns: Sequence[str]) -> Generator[pa.RecordBatch, None, None]:
    """The rows of the stretches, in order, a part of a row group at a time.

    A store is asked for the next stretch while this one is used: otherwise the training would wait at each row group.

    Raises:
        RuntimeError: A file has fewer rows than when it was counted.
    """
    started: deque[Started[pa.RecordBatch]] = deque()
    waiting = iter([stretch for stretch in stretches if opened.units[stretch.unit].remote])
    try:
        for stretch in stretches:
            unit = opened.units[stretch.unit]
            if not unit.remote:
                yield from _part(unit.name, stretch, _read(opened, stretch, columns))
                continue
            while len(started) < 2 and (later := next(waiting, None)) is not None:
                started.append(Started(_read(opened, later, columns), 1))
            yield from _part(unit.name, stretch, started[0].rest())
            started.popleft().close()
    finally:
        while started:
            started.pop().close()


def _read(opened: Opened, stretch: Stretch, columns: Sequence[str]) -> Generator[pa.RecordBatch, None, None]:
    yield from opened.units[stretch.unit].read(stretch.first, stretch.last, columns, opened.schema)


def _part(name: str, stretch: Stretch, found: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    skip, left = stretch.skip, stretch.rows
    for batch in found:
        mine = batch.slice(skip, left)
        skip -= min(skip, batch.num_rows)
        left -= mine.num_rows
        if mine.num_rows:
            yield mine
        if not left:
            return
    if left:
        raise RuntimeError(
            f"{name} has {left} rows fewer than when the run counted them: the files of a dataset have to stay as they"
            " are while a run reads them"
        )


def batched(found: Iterator[pa.RecordBatch], size: int, *, drop_last: bool) -> Iterator[pa.Table]:
    """Tables of `size` rows; the last has the rest, unless it is dropped. Nothing is copied."""
    waiting: deque[pa.RecordBatch] = deque()
    count = 0
    for batch in found:
        waiting.append(batch)
        count += batch.num_rows
        while count >= size:
            yield pa.Table.from_batches(_first(waiting, size))
            count -= size
    if count and not drop_last:
        yield pa.Table.from_batches(list(waiting))


def mixed(found: Iterator[pa.RecordBatch], window: int, seed: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """The same rows in a random order, in which a row moves by about `window` rows; twice that many are in memory.

    The order depends on the sequence of the rows and on the seed alone, not on how they come in batches.

    Args:
        found: The rows.
        window: From how many rows the next ones are drawn.
        seed: Whole numbers from 0.
    """
    import numpy as np

    draw = np.random.default_rng(list(seed))
    source = _Taker(found)
    kept: pa.RecordBatch | None = None
    while True:
        have = kept.num_rows if kept is not None else 0
        new = source.take(window - have)
        together = [kept, *new] if kept is not None else new
        if not together:
            return
        pool = pa.concat_batches(together)
        order = draw.permutation(pool.num_rows)
        # Half of the window goes, and is filled up again: so a row may also come late. At the end all go.
        goes = (window + 1) // 2 if pool.num_rows == window else pool.num_rows
        yield pool.take(pa.array(order[:goes]))
        kept = pool.take(pa.array(order[goes:])) if goes < pool.num_rows else None


class _Taker:
    """Takes rows off a stream of batches."""

    def __init__(self, found: Iterator[pa.RecordBatch]) -> None:
        self._found = found
        self._waiting: deque[pa.RecordBatch] = deque()

    def take(self, count: int) -> list[pa.RecordBatch]:
        """So many rows; fewer at the end of the stream."""
        have = sum(batch.num_rows for batch in self._waiting)
        while have < count and (batch := next(self._found, None)) is not None:
            self._waiting.append(batch)
            have += batch.num_rows
        return _first(self._waiting, min(count, have))


def _first(waiting: deque[pa.RecordBatch], count: int) -> list[pa.RecordBatch]:
    """Take `count` rows off the front; so many are there."""
    taken = []
    while count:
        batch = waiting.popleft()
        if batch.num_rows > count:
            waiting.appendleft(batch.slice(count))
            batch = batch.slice(0, count)
        if batch.num_rows:
            taken.append(batch)
        count -= batch.num_rows
    return taken
