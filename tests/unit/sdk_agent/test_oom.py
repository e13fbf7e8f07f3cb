from __future__ import annotations

from pathlib import Path

import pytest

from paceline.agent.failure import from_exit
from paceline.agent.oom import OomWatch

V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
V2 = "low 0\nhigh 0\nmax 7\noom 3\noom_kill {}\noom_group_kill 0\n"


@pytest.mark.parametrize(
    ("own", "file", "text"),
    [
        pytest.param("0::/\n", "memory.events", V2, id="version 2 in a container"),
        pytest.param("0::/user.slice/me.scope\n", "user.slice/me.scope/memory.events", V2, id="version 2 on a machine"),
        pytest.param("0::/../outside\n", "memory.events", V2, id="version 2, a group that is not mounted"),
        pytest.param("4:memory:/kubepods/pod1\n", "memory/memory.oom_control", V1, id="version 1 in a container"),
        pytest.param(
            "4:memory:/jobs/a\n1:cpu:/\n", "memory/jobs/a/memory.oom_control", V1, id="version 1 on a machine"
        ),
    ],
)
def test_a_kill_is_seen_once(tmp_path: Path, own: str, file: str, text: str) -> None:
    (tmp_path / "cgroup").write_text(own)
    counter = tmp_path / "sys" / file
    counter.parent.mkdir(parents=True)
    counter.write_text(text.format(2))  # of containers before: the group may be older than the agent
    watch = OomWatch(tmp_path / "sys", tmp_path / "cgroup")
    assert not watch.struck()
    counter.write_text(text.format(3))
    assert watch.struck()
    assert not watch.struck()


def test_without_a_counter_nothing_is_invented(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("low 0\n")
    assert not OomWatch(tmp_path, tmp_path / "none").struck()
    assert not OomWatch().struck()


def test_only_a_process_that_was_killed_is_one_of_them() -> None:
    killed = from_exit(2, -9, time="", exception=None, last_lines=["a"], out_of_memory=True)
    assert (killed.reason, killed.exit_code) == ("OOMKilled", 137)
    assert killed.sentence == "rank 2 was ended by SIGKILL: killed by the kernel: the container is out of memory"
    failed = from_exit(2, 1, time="", exception=None, last_lines=["boom"], out_of_memory=True)
    assert (failed.reason, failed.message) == ("Error", "boom")
