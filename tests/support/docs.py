"""The fenced blocks of the documentation, for the tests that run them or look at them.

Which test answers for which page: tests/contract/test_docs_blocks.py.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
# Design notes tell why things are as they are; nobody types their lines.
PAGES = (
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "design"),
    *sorted(EXAMPLES.glob("*/README.md")),
)
SHELL = ("console", "bash", "sh", "shell")
_FENCED = re.compile(r"^( *)(```+) *([\w-]*)[^\n]*\n(.*?)^ *\2 *$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        page: Below the root of the repository.
        number: Among the blocks of its page, from 0.
        language: As written behind the fence; empty: none.
        text: Without the fence and its indentation.
    """

    page: str
    number: int
    language: str
    text: str

    @property
    def id(self) -> str:
        """For parametrized tests."""
        return f"{self.page}-{self.number}"


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """All blocks of a page."""
    found = _FENCED.findall(page.read_text())
    name = str(page.relative_to(ROOT))
    return tuple(
        Block(name, number, language, textwrap.dedent(text)) for number, (_, _, language, text) in enumerate(found)
    )


def everywhere(*languages: str) -> list[Block]:
    """The blocks of these languages, of all pages, without those that a page includes from a file."""
    return [b for page in PAGES for b in blocks(page) if b.language in languages and "--8<--" not in b.text]


def python(page: str) -> list[str]:
    """All Python of a page such as `docs/guides/pytorch.md`."""
    return [block.text for block in blocks(ROOT / page) if block.language == "python"]


def own_python(page: str) -> list[str]:
    """The Python of a page that is no part of an example, so that a test has to run it."""
    return [text for text in python(page) if example_of(text) is None]


def example_of(text: str) -> str | None:
    """The example's script that has these lines one after another, whatever their indentation; None: no script has."""
    wanted = _lines(text)
    for script, lines in _scripts():
        starts = range(len(lines) - len(wanted) + 1)
        if wanted and any(list(lines[start : start + len(wanted)]) == wanted for start in starts):
            return script
    return None


def commands(block: Block) -> Iterator[str]:
    """What a reader types: behind `$ `, or, where no line has it, every line; continued lines in one."""
    lines = block.text.replace("\\\n", " ").splitlines()
    prompted = [line[2:] for line in lines if line.startswith("$ ")]
    yield from prompted if prompted or block.language == "console" else filter(None, lines)


@cache
def _scripts() -> Sequence[tuple[str, Sequence[str]]]:
    return tuple(
        (str(script.relative_to(ROOT)), tuple(_lines(script.read_text()))) for script in sorted(EXAMPLES.rglob("*.py"))
    )


def _lines(text: str) -> list[str]:
    return [stripped for line in text.splitlines() if (stripped := line.strip())]
