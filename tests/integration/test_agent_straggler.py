"""A rank that is slower than the others is named by the lead, as long as it is."""

from __future__ import annotations

from pathlib import Path

from tests.support.agents import job, wait_for

# Ranks wait for each other after each report, as they would in a collective operation of the next step.
SLOW_RANK = """
    import os, pathlib, time
    from paceline import train
    rank = train.get_context().get_world_rank()
    step = 0
    while not pathlib.Path("enough").exists():
        time.sleep(1.3 if rank == 2 and not pathlib.Path("mended").exists() else 0.05)
        train.report({"step": step})
        pathlib.Path(f"at-{step}-{rank}").touch()
        while not all(pathlib.Path(f"at-{step}-{r}").exists() for r in range(3)):
            time.sleep(0.005)
            if pathlib.Path("enough").exists():
                break
        step += 1
"""
METRIC = 'paceline_straggler_seconds{attempt="0",job_name="job",rank="2"} 1.'


def test_the_rank_that_comes_last_is_named_until_it_has_caught_up(tmp_path: Path) -> None:
    with job(tmp_path, workers=3, per_pod=1) as made:
        command = made.script(SLOW_RANK)
        lead, *others = (made.start(command, pod=i) for i in range(3))
        told = wait_for(lambda: (s := lead.status()) and s["straggler"] and s, 30)
        assert told["straggler"]["rank"] == told["progress"]["slowestRank"] == 2
        assert 1.0 < told["straggler"]["behindSeconds"] < 2.0
        assert METRIC in lead.get("/metrics")
        (tmp_path / "mended").touch()
        wait_for(lambda: (s := lead.status()) and s["straggler"] is None, 30)
        assert "paceline_straggler_seconds{" not in lead.get("/metrics")
        (tmp_path / "enough").touch()
        assert [pod.wait() for pod in (lead, *others)] == [0, 0, 0]
