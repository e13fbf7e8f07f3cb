"""What happens in one simulated cluster, as a value that can be printed, read back, and shrunk."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

NAMESPACE = "ml"


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ends by itself."""

    kind: str = "ok"
    """`ok`; `fail` an exit code; `oom` told by the agent; `kill` the agent is killed for memory; `stall`;
    `store` and `config` what no restart can mend; `hang` for ever; `stuck` the pod never starts."""
    index: int = 0
    """Pod in which it happens."""
    after: float = 2.0
    """Seconds after all workers ran; below zero: so many after this pod ran, whatever the others do."""
    code: int = 1

    def __str__(self) -> str:
        return "ok" if self.kind == "ok" else f"{self.kind}/{self.index}/{self.after:g}/{self.code}"

    @classmethod
    def parse(cls, text: str) -> End:
        """Read what `str` gave."""
        kind, *rest = text.split("/")
        return cls(kind, int(rest[0]), float(rest[1]), int(rest[2])) if rest else cls(kind)


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A job, and what its attempts come to."""

    name: str
    pods: int = 2
    per_pod: int = 1
    at: float = 0.0
    """When it is created, in seconds."""
    runs: float = 5.0
    """Seconds of an attempt that ends well."""
    spread: float = 0.2
    """The other workers end up to so many seconds before the lead."""
    restarts: int = 3
    preemptions: int = -1
    initial: int = 1
    max: int = 8
    """Seconds of backoff."""
    deadline: int = 0
    ttl: int = -1
    clean: str = "Running"
    rule: str = ""
    """A rule of the failure policy: `Fail:3` or `RestartUncounted:OOMKilled`."""
    reports: bool = False
    """The lead answers the operator's questions."""
    suspended: bool = False
    """Created so."""
    invalid: bool = False
    """The API server refuses its pods."""
    gang: str = "Auto"
    timeout: int = 600
    """Seconds that a set which is placed in part may hold its nodes."""
    start: int = 1800
    """Seconds in which pods that have nodes start."""
    ends: tuple[End, ...] = ()
    """By attempt; later attempts end well."""

    def end(self, attempt: int) -> End:
        """How an attempt ends by itself."""
        return self.ends[attempt] if attempt < len(self.ends) else End()

    def __str__(self) -> str:
        return f"job {self.name}{_options(self, skip=('name',))}"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens at a time. What `on`, `n` and `s` mean is told by its kind, in faults.py."""

    at: float
    kind: str
    on: str = ""
    n: int = 1
    s: float = 0.0

    def __str__(self) -> str:
        return f"at {self.at:g} {self.kind}{_options(self, skip=('at', 'kind'))}"


@dataclass(frozen=True, slots=True)
class WriteFault:
    """What goes wrong with the n-th write of all operators together."""

    number: int
    kind: str
    """`crash` after it was carried out; `lost` reply; `error` 500 before; `gateway` 504 after; `conflict` 409;
    `throttle` 429 without a time; `later` 429 with one; `refused` 403."""

    def __str__(self) -> str:
        return f"write {self.number} {self.kind}"


@dataclass(frozen=True, slots=True)
class History:
    """All of it. `str` gives one line that `parse` reads."""

    seed: int = 0
    """Of what is left to chance: latencies, jitter, how long pods take."""
    nodes: int = 2
    slots: int = 8
    """Workers that a node holds."""
    gang: str = ""
    """`yes`: PodGroups are served, and the scheduler places all pods of one or none; `ignored`: they are served, and
    the scheduler places pods one by one."""
    standby: bool = False
    """A second operator keeps its caches full and takes over at once when the first one dies."""
    lag: float = 0.05
    """Seconds by which watches lag behind."""
    skew: float = 0.0
    """Seconds by which the clocks of the nodes differ from the operator's, at most."""
    jobs: tuple[JobPlan, ...] = ()
    faults: tuple[Fault, ...] = ()
    writes: tuple[WriteFault, ...] = ()

    def __str__(self) -> str:
        world = f"world{_options(self, skip=('jobs', 'faults', 'writes'))}"
        return "; ".join([world, *map(str, self.jobs), *map(str, self.faults), *map(str, self.writes)])

    @classmethod
    def parse(cls, text: str) -> History:
        """Read what `str` gave. Raises ValueError, which tells what it does not know."""
        found = cls()
        for part in filter(None, (part.strip() for part in text.replace("\n", ";").split(";"))):
            word, *rest = part.split()
            if word == "world":
                found = replace(found, **_read(cls, rest))
            elif word == "job":
                found = replace(found, jobs=(*found.jobs, JobPlan(rest[0], **_read(JobPlan, rest[1:]))))
            elif word == "at":
                fault = Fault(float(rest[0]), rest[1], **_read(Fault, rest[2:]))
                found = replace(found, faults=(*found.faults, fault))
            elif word == "write":
                found = replace(found, writes=(*found.writes, WriteFault(int(rest[0]), rest[1])))
            else:
                raise ValueError(f"{part!r}: a part of a history begins with world, job, at or write")
        return found


def _options(value: Any, skip: tuple[str, ...]) -> str:
    told = []
    for field in fields(value):
        given = getattr(value, field.name)
        if field.name in skip or (field.default is not MISSING and given == field.default):
            continue
        if isinstance(given, tuple):
            text = "+".join(map(str, given))
        elif isinstance(given, bool):
            text = "yes"
        else:
            text = f"{given:g}" if isinstance(given, float) else str(given)
        told.append(f" {field.name}={text}")
    return "".join(told)


def _read(cls: Any, words: list[str]) -> dict[str, Any]:
    defaults = {field.name: field.default for field in fields(cls)}
    given: dict[str, Any] = {}
    for word in words:
        name, _, text = word.partition("=")
        if name not in defaults or not text:
            raise ValueError(f"{word!r}: expected name=value with a name out of {', '.join(defaults)}")
        kind: Any = type(defaults[name])
        if kind is tuple:
            given[name] = tuple(End.parse(part) for part in text.split("+"))
        else:
            given[name] = text == "yes" if kind is bool else kind(text)
    return given
