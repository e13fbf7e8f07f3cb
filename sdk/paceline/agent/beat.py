"""What an agent and the lead tell each other: the whole state each time, so that a lost message costs nothing.

An agent posts a `Beat` to the lead's `/v1/beat` every fraction of a second; the answer is `Orders`. Both are repeated
until the other side has taken note; neither side keeps a queue of messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from paceline.agent.failure import Failure

State = Literal["starting", "running", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class RankState:
    """One process."""

    rank: int
    state: State = "starting"
    reports: int = 0  # in this attempt
    step: int | None = None
    time: float | None = None  # of the last report, seconds since the epoch
    exit_code: int | None = None
    held: str = ""  # what holds a silent one up: a letter of holdups.py

    @property
    def ended(self) -> bool:
        """Whether it will not report again."""
        return self.state in ("succeeded", "failed")


@dataclass(frozen=True, slots=True)
class Offer:
    """Files that a rank gave with one report, staged in its pod."""

    round: int
    rank: int
    files: Mapping[str, int]  # name -> bytes
    name: str = ""  # the directory that the rank asked for; empty: the next number
    external: str = ""  # where the user's own function has stored the files; then there are none here


@dataclass(frozen=True, slots=True)
class Beat:
    """The state of one pod."""

    run_id: str
    attempt: int
    node_rank: int
    ranks: tuple[RankState, ...] = ()
    offers: tuple[Offer, ...] = ()  # not settled yet
    stored: Mapping[int, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)  # round -> file -> size, sum
    torn: Mapping[int, str] = field(default_factory=dict)  # round -> why it cannot be stored as it was reported
    shares_storage: bool | None = None  # None: not known yet
    failure: Failure | None = None
    done: bool = False  # processes ended, everything settled
    waiting: tuple[int, ...] = ()  # rounds whose outcome some process of this pod waits for
    figures: Mapping[str, float] = field(default_factory=dict)  # of this pod's transfers; see figures.py
    artifacts: tuple[str, ...] = ()  # stored since the last beat that got through
    recent: Mapping[int, tuple[tuple[int, float], ...]] = field(default_factory=dict)  # rank -> (report, seconds ago)
    leaving: bool = False  # this pod got SIGTERM
    asks: bool = False  # some process has called should_stop()
    asked: int | None = None  # how often at most, known once they are held

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        told = asdict(self)
        told["failure"] = self.failure.to_json() if self.failure else None
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Beat:
        """From `to_json`.

        Raises:
            KeyError, TypeError, ValueError: It is not such a message.
        """
        failure = told.get("failure")
        return cls(
            run_id=str(told["run_id"]),
            attempt=int(told["attempt"]),
            node_rank=int(told["node_rank"]),
            ranks=tuple(RankState(**rank) for rank in told["ranks"]),
            offers=tuple(Offer(**offer) for offer in told["offers"]),
            stored={int(round_): files for round_, files in told["stored"].items()},
            torn={int(round_): str(why) for round_, why in told["torn"].items()},
            shares_storage=told.get("shares_storage"),
            failure=Failure.from_json(failure) if failure else None,
            done=bool(told["done"]),
            waiting=tuple(int(round_) for round_ in told["waiting"]),
            figures={str(name): float(value) for name, value in told["figures"].items()},
            artifacts=tuple(str(name) for name in told["artifacts"]),
            recent={int(r): tuple((int(n), float(ago)) for n, ago in given) for r, given in told["recent"].items()},
            leaving=bool(told["leaving"]),
            asks=bool(told["asks"]),
            asked=None if told["asked"] is None else int(told["asked"]),
        )


@dataclass(frozen=True, slots=True)
class Upload:
    """The part of a round that one pod stores."""

    round: int
    directory: str  # name below the run directory
    files: Mapping[int, tuple[str, ...]]  # rank -> names


@dataclass(frozen=True, slots=True)
class Orders:
    """The lead's answer to one pod."""

    ready: bool = False  # the lead has reached the store and knows where to resume: processes may start
    marker: str = ""  # file below the run directory that holds `token`; empty: nothing is stored
    token: str = ""
    resumed: Mapping[str, Any] | None = None
    iteration: int = 0  # reports of the run before this attempt
    uploads: tuple[Upload, ...] = ()
    settled: int = -1  # rounds up to this one need nothing more
    no_checkpoints: str = ""  # why a report with a checkpoint is refused; empty: it is not
    stop: Failure | None = None  # some rank failed: end the processes
    goodbye: bool = False  # the lead has taken note of `done`
    reached: int = 0  # rounds below this one have been reached by every rank: they settle whatever a rank does next
    outcomes: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)  # settled round -> its commit, or an error
    hold: bool = False  # the group is told to stop: hold the processes at their next should_stop()
    stop_at: int = 0  # the call of should_stop() from which on it is true; 0: not decided
    asks: bool = False  # some process of the group has called should_stop()

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        told = asdict(self)
        told["stop"] = self.stop.to_json() if self.stop else None
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Orders:
        """From `to_json`.

        Raises:
            KeyError, TypeError, ValueError: It is not such a message.
        """
        stop = told.get("stop")
        uploads = (
            Upload(int(u["round"]), str(u["directory"]), {int(r): tuple(names) for r, names in u["files"].items()})
            for u in told["uploads"]
        )
        return cls(
            ready=bool(told["ready"]),
            marker=str(told["marker"]),
            token=str(told["token"]),
            resumed=told.get("resumed"),
            iteration=int(told["iteration"]),
            uploads=tuple(uploads),
            settled=int(told["settled"]),
            no_checkpoints=str(told["no_checkpoints"]),
            stop=Failure.from_json(stop) if stop else None,
            goodbye=bool(told["goodbye"]),
            reached=int(told["reached"]),
            outcomes={int(round_): outcome for round_, outcome in told["outcomes"].items()},
            hold=bool(told["hold"]),
            stop_at=int(told["stop_at"]),
            asks=bool(told["asks"]),
        )
