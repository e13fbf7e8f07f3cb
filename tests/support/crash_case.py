"""What a crash case is, and how it went."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from tests.support.crash_points import Form, Shot


@dataclass(frozen=True, slots=True)
class Case:
    """What happens in one run."""

    store: str  # local or s3
    shots: tuple[Shot, ...]
    broken: str = ""  # variant of the protocol, see crash_broken
    form: Form = ""

    @property
    def id(self) -> str:
        """One word, for `python -m tests.crash.replay`."""
        head = self.store + (f"~{self.form}" if self.form else "") + (f"!{self.broken}" if self.broken else "")
        return "/".join([head, *(shot.id for shot in self.shots)])

    @classmethod
    def from_id(cls, text: str) -> Case:
        """From `id`."""
        # A point may have slashes of its own: a shot begins with its attempt and a dot.
        head, *tail = text.split("/")
        head, _, broken = head.partition("!")
        store, _, form = head.partition("~")
        assert form in get_args(Form), text
        shots: list[str] = []
        for part in tail:
            if part[:1].isdigit() and part[1:2] == "." and "@" in part.partition(":")[0]:
                shots.append(part)
            else:
                shots[-1] += f"/{part}"
        return cls(store, tuple(map(Shot.from_id, shots)), broken, form)  # type: ignore[arg-type]


@dataclass(slots=True)
class Outcome:
    """How a case went."""

    id: str
    problems: list[str] = field(default_factory=list)
    reached: bool = True  # every shot fired
    seconds: float = 0.0
    log: str = ""  # of every agent, when there are problems
