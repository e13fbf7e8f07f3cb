"""The Python of the pages that need no framework runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from paceline.train import Result
from tests.support import docs
from tests.support.agents import SDK, job
from tests.support.timeouts import AGENT_RUN_S

PAGE = docs.ROOT / "docs/guides/training-with-python.md"


def test_the_guide_runs(tmp_path: Path) -> None:
    blocks = docs.python("docs/guides/training-with-python.md")
    assert len(blocks) == 4
    script = tmp_path / "train.py"
    script.write_text("\n".join(blocks))
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


PREEMPTED = """
import os, signal, time
from pathlib import Path

first = os.environ["PACELINE_ATTEMPT"] == "0"
steps = 10_000 if first else int(os.environ["STEPS"])

def load(directory):
    return int(Path(directory, "step").read_text())

def save(directory, step):
    Path(directory, "step").write_text(str(step))

def train_step():
    time.sleep(0.005)
    if first and step == 3:
        os.kill(os.getppid(), signal.SIGTERM)  # as the kubelet tells the pod, whose first process is the agent
    return 1 / step

"""


def test_the_loop_of_the_page_about_preemption_loses_no_step(tmp_path: Path) -> None:
    (block,) = docs.python("docs/guides/preemption.md")
    script = f"{PREEMPTED}{block}\nprint('from', start, 'to', step, stop, flush=True)\n"
    with job(tmp_path) as running:
        stopped = running.train(script)
        reached = re.search(r"from 0 to (\d+) True", stopped.log)
        assert reached, stopped.log
        assert 3 <= int(reached[1]) < 500
        resumed = running.train(script, attempt=1, STEPS=str(int(reached[1]) + 2))
        assert f"from {reached[1]} to {int(reached[1]) + 2} False" in resumed.log
        assert [line["step"] for line in running.results()] == [int(reached[1])]
