"""The guide shows the example that is tested, not a relative of it."""

from __future__ import annotations

import re

from tests.support.agents import SDK

ROOT = SDK.parent
GUIDE = ROOT / "docs" / "guides" / "tensorflow.md"
EXAMPLE = ROOT / "examples" / "keras-digits" / "train.py"


def test_every_python_block_of_the_guide_is_a_part_of_the_example() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    assert [block for block in blocks if block not in EXAMPLE.read_text()] == []
