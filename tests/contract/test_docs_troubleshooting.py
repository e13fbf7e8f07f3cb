"""Whatever reason a job can show, and whatever error the SDK raises, the troubleshooting page has a heading for it."""

from __future__ import annotations

import re
from pathlib import Path

import paceline.storage
import paceline.train
from paceline import _contract
from paceline.api import reasons
from paceline.client.advice import ADVICE
from paceline.train._client import AgentGoneError

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"


def test_each_reason_and_sdk_error_has_its_heading_and_no_heading_is_left_over() -> None:
    headings = re.findall(r"^### (\w+)$", PAGE.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(set(headings)), "a heading is there twice"
    assert set(headings) == reasons.REASONS | _agent_reasons() | _sdk_errors()


def test_each_heading_says_what_was_seen_what_paceline_does_and_what_to_do() -> None:
    sections = re.split(r"^#{2,3} ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    reasons_alone = [section for section in sections if re.match(r"\w+\n", section)]
    assert len(reasons_alone) == len(reasons.REASONS | _agent_reasons() | _sdk_errors())
    parts = ("- **Seen:** ", "- **Paceline:** ", "- **You:** ")
    assert [section.split("\n")[0] for section in reasons_alone if not all(part in section for part in parts)] == []


def test_advice_is_given_for_known_reasons_alone() -> None:
    assert set(ADVICE) <= reasons.REASONS


def _agent_reasons() -> set[str]:
    return {value for name, value in vars(_contract).items() if name.startswith("REASON_")}


def _sdk_errors() -> set[str]:
    public = [getattr(module, name) for module in (paceline.storage, paceline.train) for name in module.__all__]
    # Not exported, and yet seen by users: nobody catches it by name.
    public.append(AgentGoneError)
    return {thing.__name__ for thing in public if isinstance(thing, type) and issubclass(thing, Exception)}
