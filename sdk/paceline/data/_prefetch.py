"""The next batches are made in a thread while the training uses this one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


def prefetched(items: Generator[T, None, None], ahead: int) -> Iterator[T]:
    """Give the same items, up to `ahead` of them made before they are asked for.

    An error of `items` is raised here, after what came before it. When this iterator is closed or dropped, `items` is
    closed and the thread has ended.

    Args:
        items: Run in a thread of its own from the first `next` on.
        ahead: 0: no thread.
    """
    if ahead == 0:
        try:
            yield from items
        finally:
            items.close()
        return
    started = Started(items, ahead)
    try:
        yield from started.rest()
    finally:
        started.close()


class Started(Generic[T]):
    """Items that a thread makes from now on, up to some of them ahead. Whoever makes one closes it."""

    def __init__(self, items: Generator[T, None, None], ahead: int) -> None:
        self._handoff: _Handoff[T] = _Handoff(ahead)
        self._thread = threading.Thread(target=_fill, args=(items, self._handoff), name="paceline-data", daemon=True)
        self._thread.start()

    def rest(self) -> Iterator[T]:
        """The items that nobody has taken yet. Raises an error of the thread behind those before it."""
        while found := self._handoff.take():
            yield found[0]
            del found  # not held while the next one is waited for

    def close(self) -> None:
        """End the thread, and wait for that."""
        self._handoff.stop()
        # The garbage collector may call this in the thread itself.
        if self._thread is not threading.current_thread():
            self._thread.join()


def _fill(items: Generator[T, None, None], handoff: _Handoff[T]) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not handoff.put(item):
                break
            del item
    except BaseException as e:  # raised where the items are used
        error = e
    finally:
        items.close()
        handoff.end(error)


class _Handoff(Generic[T]):
    """A bounded queue that either side may end."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._ended = False
        self._error: BaseException | None = None

    def put(self, item: T) -> bool:
        """Wait for room. False: nobody wants it any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._items) < self._size)
            if self._stopped:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def take(self) -> tuple[T] | None:
        """The next one in a tuple; None behind the last. Raises the producer's error."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items) or self._ended)
            if self._items:
                found = self._items.popleft()
                self._changed.notify_all()
                return (found,)
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            return None

    def end(self, error: BaseException | None) -> None:
        """The producer has no more."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def stop(self) -> None:
        """The consumer wants no more."""
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._changed.notify_all()
