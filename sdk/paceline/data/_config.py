"""`DataConfig`: which datasets are split, what their files are, and in which order they are dealt out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from paceline.data import _formats


@dataclass(frozen=True, slots=True)
class DataConfig:
    """How the datasets of a trainer reach its workers.

    Attributes:
        datasets_to_split: `"all"`, or the names of those that are split over the ranks. The others are whole on every
            rank.
        format: `parquet`, `csv`, `json` or `arrow`, where the names of the files do not tell: one for all datasets, or
            a dict by the name of the dataset. None: by suffix.
        shuffle: True, or the names of datasets, whose row groups (of CSV and JSON: files) are dealt out in another
            order in each epoch, so that a rank sees other rows. Rows within a row group stay together:
            `iter_batches(shuffle_buffer_size=)` mixes those.
        seed: Of that order. It is the same on all ranks, since two orders would give a row to two ranks.
    """

    datasets_to_split: Literal["all"] | Iterable[str] = "all"
    format: str | Mapping[str, str] | None = None
    shuffle: bool | Iterable[str] = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.datasets_to_split != "all":
            object.__setattr__(self, "datasets_to_split", _names("datasets_to_split", self.datasets_to_split, "'all'"))
        if not isinstance(self.shuffle, bool):
            object.__setattr__(self, "shuffle", _names("shuffle", self.shuffle, "True, False"))
        if isinstance(self.format, Mapping):
            object.__setattr__(self, "format", dict(self.format))
            for name, given in self.format.items():
                _formats.check(f"DataConfig.format[{name!r}]", given)
        elif self.format is not None:
            _formats.check("DataConfig.format", self.format)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"DataConfig.seed is {self.seed!r}: pass a whole number from 0")

    def splits(self, name: str) -> bool:
        """Whether the dataset of this name is split."""
        return self.datasets_to_split == "all" or name in self.datasets_to_split

    def shuffles(self, name: str) -> bool:
        """Whether its row groups are dealt out in another order in each epoch."""
        return self.shuffle if isinstance(self.shuffle, bool) else name in self.shuffle

    def format_of(self, name: str) -> str | None:
        """The format of its files, where it is given."""
        return self.format.get(name) if isinstance(self.format, Mapping) else self.format

    def check_names(self, known: Iterable[str]) -> None:
        """Every dataset that is named here is there.

        Raises:
            ValueError: One is not.
        """
        names = set(known)
        for attribute in ("datasets_to_split", "format", "shuffle"):
            value = getattr(self, attribute)
            given = value if isinstance(value, tuple | dict) else ()
            if unknown := [name for name in given if name not in names]:
                there = f"they are {', '.join(map(repr, sorted(names)))}" if names else "there are none"
                raise ValueError(
                    f"DataConfig.{attribute} names {unknown[0]!r}, which is not among the datasets: {there}"
                )


def _names(attribute: str, given: object, instead: str) -> tuple[str, ...]:
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"DataConfig.{attribute} is {given!r}: pass {instead} or a list of names of datasets")
    names = tuple(given)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise TypeError(f"DataConfig.{attribute} has {wrong[0]!r} in it: pass {instead} or a list of names of datasets")
    return names
