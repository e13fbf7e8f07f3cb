"""One pool of slots for all crash tests, and a table at the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest

from tests.crash.matrix import SAMPLE, groups
from tests.crash.pool import Pool
from tests.support.crash_case import Case, Outcome

_TABLE: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
_SECONDS: dict[str, float] = {}
_VICTIMS = ("worker", "agent", "lead", "server", "message", "frozen")


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """Slots that run cases."""
    made = Pool()
    yield made
    made.close()


@pytest.fixture(scope="session")
def matrix(pool: Pool) -> dict[str, list[Case]]:
    """All cases by group."""
    return groups(pool)


def note(group: str, outcomes: list[Outcome], seconds: float) -> None:
    """Count for the table."""
    _SECONDS[group] = seconds
    for outcome in outcomes:
        if outcome.reached:
            shot = Case.from_id(outcome.id).shots[-1]
            victim = {"agent1": "agent", "rank0": "worker", "rank1": "worker"}.get(shot.victim, shot.victim)
            victim = {"drop": "message", "stop": "frozen"}.get(shot.action, victim)
            step = f"{shot.who.rstrip('01')}: {shot.point.partition('(')[0].partition('.')[0].rstrip('0123456789')}"
            _TABLE[group, step][victim] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Cases per step and victim, and the time of each group."""
    if not _TABLE:
        return
    of = f" (the sample {SAMPLE})" if SAMPLE else ""
    terminalreporter.section(f"crash matrix: cases by step and victim{of}")
    terminalreporter.write_line(f"{'step':44}" + "".join(f"{victim:>9}" for victim in _VICTIMS))
    shown = ""
    for (group, step), counts in sorted(_TABLE.items()):
        if group != shown:
            shown = group
            terminalreporter.write_line(f"{group} ({_SECONDS[group]:.0f} s)")
        terminalreporter.write_line(f"  {step:42}" + "".join(f"{counts[victim] or '':>9}" for victim in _VICTIMS))
    total = sum(sum(counts.values()) for counts in _TABLE.values())
    terminalreporter.write_line(f"{total} cases in {sum(_SECONDS.values()):.0f} s")
