"""The Python of docs/guides/training-with-python.md runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from paceline.train import Result
from tests.support.agents import SDK
from tests.support.timeouts import AGENT_RUN_S

PAGE = Path(__file__).parents[2] / "docs/guides/training-with-python.md"


def test_the_guide_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"^ *```python\n(.*?)^ *```", PAGE.read_text(), re.M | re.S)
    assert len(blocks) == 4
    script = tmp_path / "train.py"
    script.write_text("\n".join(textwrap.dedent(block) for block in blocks))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PACELINE_")}
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**environ, "HOME": str(tmp_path), "PYTHONPATH": str(SDK)},
        capture_output=True,
        text=True,
        timeout=AGENT_RUN_S,
    )
    assert done.returncode == 0, done.stderr
    runs = tmp_path / "paceline_results"
    # As the page shows it, with another home.
    shown = re.search(r"```console\n\$ python train.py\n(.*?)```", PAGE.read_text(), re.S)
    assert shown is not None
    lines = shown[1].replace("/home/ada", str(tmp_path)).splitlines()
    told = f"{done.stderr}\n{done.stdout}"
    for line in lines:
        for part in line.split("..."):
            assert part in told
    assert done.stdout.splitlines()[1:3] == ["7", "0 ValueError loss is nan"]
    assert sorted(path.name for path in (runs / "line").glob("checkpoint_*")) == [
        "checkpoint_000003",
        "checkpoint_000004",
    ]
    assert str(Result.from_path(runs / "broken").error).startswith("rank 0 failed: ValueError: loss is nan")
