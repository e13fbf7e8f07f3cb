"""Which reports form the next checkpoint, and who uploads which file?

Reports are collective: the n-th report of every rank belongs together (round n). A round with files is decided when
every rank has made its n-th report or has ended. Pure: the lead feeds it from the agents' beats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Merge:
    """A decided round."""

    round: int
    owners: Mapping[str, int]  # file -> the rank whose copy is stored
    sizes: Mapping[str, int]  # bytes
    ranks: tuple[int, ...]  # ranks that gave files
    conflicts: tuple[str, ...] = ()  # files that several ranks gave with different sizes
    missing: tuple[int, ...] = ()  # ranks whose files are lacking: such a round is never committed
    name: str = ""  # directory that the ranks asked for; empty: the next number
    names: Mapping[int, str] = field(default_factory=dict)  # rank -> name, where they disagree: never committed
    external: Mapping[int, str] = field(default_factory=dict)  # rank -> where its own function stored its files


@dataclass(frozen=True, slots=True)
class _Offer:
    files: Mapping[str, int]
    name: str
    external: str


class Rounds:
    """Reports and offers of all ranks of an attempt."""

    def __init__(self, ranks: Iterable[int], givers: Iterable[int] | None = None) -> None:
        """Start an attempt.

        Args:
            givers: Ranks that gave files to the checkpoint resumed from; None when there is none.
        """
        self._reports = dict.fromkeys(ranks, 0)
        self._ended: dict[int, bool] = {}  # rank -> whether it failed
        self._offers: dict[int, dict[int, _Offer]] = {}
        self._givers = None if givers is None else frozenset(givers)
        self._decided = -1

    def seen(self, rank: int, reports: int) -> None:
        """`rank` has made so many reports in this attempt."""
        self._reports[rank] = max(self._reports[rank], reports)

    def ended(self, rank: int, *, failed: bool) -> None:
        """`rank` will not report again."""
        self._ended[rank] = failed

    def offered(self, round_: int, rank: int, files: Mapping[str, int], *, name: str = "", external: str = "") -> None:
        """`rank` gave these files (name -> bytes) with its report `round_`. Repeating it changes nothing."""
        if round_ > self._decided:
            self._offers.setdefault(round_, {})[rank] = _Offer(files, name, external)

    @property
    def reached(self) -> int:
        """Rounds below this one have been reached by every rank that still reports; they need no rank any more."""
        left = [n for rank, n in self._reports.items() if rank not in self._ended]
        return min(left) if left else max(self._reports.values(), default=0)

    @property
    def pending(self) -> bool:
        """Whether some offered round is undecided."""
        return bool(self._offers)

    def waiting_for(self) -> tuple[int, tuple[int, ...]] | None:
        """The oldest undecided round, and the ranks whose report it lacks."""
        if not self._offers:
            return None
        round_ = min(self._offers)
        return round_, tuple(r for r, n in sorted(self._reports.items()) if n <= round_ and r not in self._ended)

    def decide(self) -> Merge | None:
        """The next round in order, if it can be decided. It is forgotten here."""
        waiting = self.waiting_for()
        if waiting is None or waiting[1]:
            return None
        round_ = waiting[0]
        merge = self._merge(round_, self._offers.pop(round_))
        self._decided = round_
        if not merge.missing:
            self._givers = frozenset(merge.ranks)
        return merge

    def _merge(self, round_: int, offers: Mapping[int, _Offer]) -> Merge:
        owners: dict[str, int] = {}
        sizes: dict[str, int] = {}
        conflicts: set[str] = set()
        for rank in sorted(offers):
            for name, size in offers[rank].files.items():
                if owners.setdefault(name, rank) == rank:
                    sizes[name] = size
                elif sizes[name] != size:
                    conflicts.add(name)
        silent = [r for r, n in sorted(self._reports.items()) if n <= round_]
        missing = tuple(r for r in silent if self._is_needed(r))
        names = {rank: offer.name for rank, offer in sorted(offers.items())}
        agreed = len(set(names.values())) == 1
        return Merge(
            round_,
            owners,
            sizes,
            tuple(sorted(offers)),
            tuple(sorted(conflicts)),
            missing,
            name=next(iter(names.values())) if agreed else "",
            names={} if agreed else names,
            external={rank: offer.external for rank, offer in sorted(offers.items()) if offer.external},
        )

    def _is_needed(self, rank: int) -> bool:
        """Would a checkpoint without this ended rank lack files? Who gave last time gives again; when nothing is
        known, a rank that failed might have."""
        if self._givers is not None:
            return rank in self._givers
        return self._ended.get(rank, False)
