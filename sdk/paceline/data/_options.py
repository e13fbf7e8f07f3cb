"""The arguments that all kinds of batches share, checked when they are given."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Options:
    """See `DataShard.iter_batches`."""

    batch_size: int
    drop_last: bool
    shuffle_buffer_size: int | None
    seed: int | None
    prefetch: int
    columns: tuple[str, ...]
    skip_batches: int

    @classmethod
    def of(cls, schema: pa.Schema, *, columns: Sequence[str] | None, drop_last: bool, **numbers: Any) -> Options:
        """Check what the user gives.

        Raises:
            TypeError: A value of another type.
            ValueError: A value out of its range, or a column that is not there.
        """
        for name, least in (("batch_size", 1), ("prefetch", 0), ("skip_batches", 0)):
            _check(name, numbers[name], least)
        for name, least in (("shuffle_buffer_size", 1), ("seed", 0)):
            if numbers[name] is not None:
                _check(name, numbers[name], least)
        if not isinstance(drop_last, bool):
            raise TypeError(f"drop_last is {drop_last!r}: pass True or False")
        return cls(columns=_columns(schema, columns), drop_last=drop_last, **numbers)

    def batches(self, rows: int) -> int:
        """How many batches so many rows make, without those that are skipped."""
        whole, rest = divmod(rows, self.batch_size)
        return max(whole + (rest > 0 and not self.drop_last) - self.skip_batches, 0)


F = TypeVar("F", bound=Callable[..., Any])
# What scripts that come from Ray Train call them.
_OTHER_NAMES = {
    "prefetch_batches": "prefetch",
    "local_shuffle_buffer_size": "shuffle_buffer_size",
    "local_shuffle_seed": "seed",
}


def takes_other_names(method: F) -> F:
    """Decorate an `iter_...` method: it also takes the names that Ray Train has for the same arguments.

    Raises:
        TypeError: An argument is given under both of its names.
    """

    @functools.wraps(method)
    def called(self: Any, **given: Any) -> Any:
        for other, name in _OTHER_NAMES.items():
            if other in given:
                if name in given:
                    raise TypeError(f"{other} and {name} are the same argument: give one of them")
                given[name] = given.pop(other)
        return method(self, **given)

    return cast(F, called)


def check_known(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """All of these are columns.

    Raises:
        ValueError: One is not.
    """
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{what} names {unknown[0]!r}, which is no column: there are {', '.join(map(repr, known))}")


def _columns(schema: pa.Schema, columns: Sequence[str] | None) -> tuple[str, ...]:
    if columns is None:
        return tuple(schema.names)
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
        raise TypeError(f"columns is {columns!r}: pass a list of names")
    if not columns or len(set(columns)) < len(columns):
        raise ValueError(f"columns is {list(columns)!r}: name at least one column, and each once")
    check_known("columns", columns, schema.names)
    return tuple(columns)


def _check(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}: pass a whole number")
    if value < least:
        raise ValueError(f"{name} is {value}: pass a whole number from {least}")
