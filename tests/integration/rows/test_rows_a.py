"""Requirement A6; the other rows of A have their tests where the index says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.cluster.stores import free_port
from tests.support.agents import SDK
from tests.support.timeouts import AGENT_RUN_S

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
CPUS = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("given", "workers", "seen"),
    [
        pytest.param({}, 1, CPUS, id="unset, one worker"),
        pytest.param({}, 2, max(1, CPUS // 2), id="unset, two workers share the CPUs"),
        pytest.param({"OMP_NUM_THREADS": "7"}, 2, 7, id="the user's own"),
    ],
)
def test_a6_omp_threads_are_the_cpus_of_a_worker_unless_set(
    tmp_path: Path, given: dict[str, str], workers: int, seen: int
) -> None:
    env = {name: value for name, value in os.environ.items() if name not in THREADS and "PACELINE" not in name}
    env |= {"WORLD_SIZE": str(workers), "LOCAL_WORLD_SIZE": str(workers), "PYTHONPATH": str(SDK)}
    env |= {"PACELINE_AGENT_PORT": str(free_port()), "PACELINE_AGENT_HOST": "127.0.0.1"}
    env |= {"PACELINE_AGENT_DIR": str(tmp_path / "agent"), "PACELINE_TERMINATION_LOG": str(tmp_path / "end")}
    script = f"import os; print([os.environ.get(name) for name in {THREADS}])"
    agent = [sys.executable, "-m", "paceline.agent.main", "--", sys.executable, "-c", script]
    done = subprocess.run(
        agent, env=env | given, cwd=tmp_path, capture_output=True, text=True, timeout=AGENT_RUN_S, check=True
    )
    assert (done.stdout + done.stderr).count(str([str(seen), None, None, None])) == workers
