"""Two agents in two 'pods': the lead gathers, late or dead leads, a second attempt while the first still lives."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agents import Job, Pod, job, wait_for

CHECKPOINTS = """
    import os, pathlib, tempfile, time
    from paceline import train
    rank = train.get_context().get_world_rank()
    for i in range(3):
        with tempfile.TemporaryDirectory() as d:
            pathlib.Path(d, f"shard-{rank}").write_text(f"{i}/{rank}")
            pathlib.Path(d, "common").write_text("from rank " + str(rank) + "!" * (rank if i == 2 else 0))
            train.report({"i": i}, checkpoint=train.Checkpoint.from_directory(d))
"""
FOREVER = """
    import time
    from paceline import train
    train.report({"i": 0})
    print("reported")
    time.sleep(60)
"""


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Job]:
    with job(tmp_path, workers=2, per_pod=1) as made:
        yield made


def all_running(pod: Pod) -> bool:
    status = pod.status()
    return status is not None and all(rank["state"] == "running" for rank in status["ranks"])


def test_checkpoints_of_two_pods_merge_and_both_end_well(two: Job) -> None:
    command = two.script(CHECKPOINTS)
    second = two.start(command, pod=1)
    time.sleep(0.5)  # the lead is late
    lead = two.start(command)
    assert (lead.wait(), second.wait()) == (0, 0), lead.log + second.log
    assert list(two.commits()) == [0, 1, 2]
    assert sorted(two.commits()[2]["files"]) == ["common", "shard-0", "shard-1"]
    assert (two.run / "checkpoint_000002/common").read_text() == "from rank 0"
    assert "several ranks gave common with different sizes" in lead.log
    assert not list((two.directory / "agent-0-1/staging").iterdir())


def test_the_leads_status_tells_about_all_ranks(two: Job) -> None:
    command = two.script(FOREVER)
    lead, _second = two.start(command), two.start(command, pod=1)
    status = wait_for(lambda: (s := lead.status()) and all(r["step"] == 1 for r in s["ranks"]) and s)
    assert [(r["rank"], r["nodeRank"], r["state"]) for r in status["ranks"]] == [(0, 0, "running"), (1, 1, "running")]


def test_a_failure_in_one_pod_ends_the_other_and_both_tell_it(two: Job) -> None:
    command = two.script(
        """
        import os, time
        if os.environ["RANK"] == "1":
            time.sleep(0.3)
            raise KeyError("weights")
        time.sleep(60)
        """
    )
    lead, second = two.start(command), two.start(command, pod=1)
    assert (lead.wait(), second.wait()) == (1, 1)
    for pod in (lead, second):
        assert pod.message["outcome"] == "failed"
        assert (pod.message["failure"]["rank"], pod.message["failure"]["type"]) == (1, "KeyError")


def test_a_lead_that_dies_ends_the_others_in_bounded_time(two: Job) -> None:
    command = two.script(FOREVER)
    lead, second = two.start(command), two.start(command, pod=1, PACELINE_LEAD_LOST_SECONDS="1")
    wait_for(lambda: all_running(lead))
    for pid in (*lead.worker_pids(), lead.process.pid):
        os.kill(pid, signal.SIGKILL)
    begun = time.monotonic()
    assert second.wait() == 75
    assert time.monotonic() - begun < 8
    assert second.message["failure"]["reason"] == "LeadLost"
    assert "the lead agent (pod 0) was lost" in second.message["failure"]["message"]


def test_a_lead_that_never_comes_ends_the_wait(two: Job) -> None:
    pod = two.start(
        two.script(FOREVER), pod=1, PACELINE_LEAD="no-such-host.invalid:8470", PACELINE_LEAD_START_SECONDS="1"
    )
    assert pod.wait() == 75
    assert "never answered" in pod.message["failure"]["message"]
    assert "reported" not in pod.log


def test_a_pod_that_dies_is_noticed_by_the_lead(two: Job) -> None:
    command = two.script(FOREVER)
    lead, second = two.start(command, PACELINE_LEAD_LOST_SECONDS="1"), two.start(command, pod=1)
    wait_for(lambda: all_running(lead))
    for pid in (*second.worker_pids(), second.process.pid):
        os.kill(pid, signal.SIGKILL)
    assert lead.wait() == 75
    assert "the agent of pod 1 has fallen silent" in lead.message["failure"]["message"]


def test_sigterm_to_both_pods_ends_them_terminated(two: Job) -> None:
    command = two.script(FOREVER)
    lead, second = two.start(command), two.start(command, pod=1)
    wait_for(lambda: "reported" in lead.log and "reported" in second.log)
    lead.terminate()
    second.terminate()
    assert (lead.wait(), second.wait()) == (143, 143)
    assert lead.message["progress"]["step"] == 1


def test_an_older_attempt_commits_nothing_once_a_newer_has_begun(tmp_path: Path) -> None:
    script = """
        import os, pathlib, tempfile, time
        from paceline import train
        old = os.environ["PACELINE_ATTEMPT"] == "0"
        for i in range(2):
            with tempfile.TemporaryDirectory() as d:
                pathlib.Path(d, "who").write_text("old" if old else "new")
                train.report({"i": i}, checkpoint=train.Checkpoint.from_directory(d))
            print("reported", i)
            while old and not pathlib.Path("go").exists():
                time.sleep(0.05)
    """
    with job(tmp_path) as one:
        command = one.script(script)
        old = one.start(command)
        wait_for(lambda: 0 in one.commits())
        new = one.start(command, attempt=1, PACELINE_AGENT_PORT="0")
        assert new.wait() == 0, new.log
        (tmp_path / "go").touch()
        assert old.wait() == 70
    assert old.message["failure"]["reason"] == "Fenced"
    assert "attempt 1 writes to" in old.message["failure"]["message"]
    assert {i: commit["attempt"] for i, commit in one.commits().items()} == {0: 0, 1: 1, 2: 1}
    assert (one.run / "checkpoint_000001/who").read_text() == "new"


def test_an_attempt_that_comes_too_late_starts_nothing(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        assert one.train("print('second')", attempt=1).process.returncode == 0
        late = one.train("open('started', 'w')", attempt=0)
    assert late.process.returncode == 70
    assert "attempt 1 of this run has begun already" in late.message["failure"]["message"]
    assert not (tmp_path / "started").exists()


def test_a_storage_path_that_is_not_shared_is_an_error_of_the_checkpoint_alone(two: Job) -> None:
    command = two.script("from paceline import train\ntrain.report({'a': 1})")
    apart = str(two.directory / "elsewhere")
    lead, second = two.start(command), two.start(command, pod=1, PACELINE_STORAGE_PATH=apart)
    assert (lead.wait(), second.wait()) == (0, 0), lead.log + second.log

    command = two.script(CHECKPOINTS)
    lead = two.start(command, attempt=1)
    second = two.start(command, attempt=1, pod=1, PACELINE_STORAGE_PATH=apart)
    assert lead.wait() != 0
    assert second.wait() != 0
    assert "is not shared: pod 1 does not see what pod 0 wrote" in lead.message["failure"]["message"]
    assert not two.commits()


def test_a_rank_that_dies_before_giving_its_shard_leaves_no_checkpoint_behind(tmp_path: Path) -> None:
    with job(tmp_path, workers=2) as pair:
        pair.train(
            """
            import os, pathlib, tempfile, time
            from paceline import train
            rank = train.get_context().get_world_rank()
            for i in range(2):
                if (i, rank) == (1, 1):
                    time.sleep(0.3)
                    os._exit(9)
                with tempfile.TemporaryDirectory() as d:
                    pathlib.Path(d, f"shard-{rank}").write_text("x")
                    train.report({"i": i}, checkpoint=train.Checkpoint.from_directory(d))
            """
        )
    assert list(pair.commits()) == [0]
    assert sorted(p.name for p in pair.run.glob("checkpoint_*")) == ["checkpoint_000000"]


LOSES_ITS_PEER = """
    import os, pathlib, sys, time
    rank = os.environ["RANK"]
    pathlib.Path(f"started-{rank}").touch()
    while len(list(pathlib.Path().glob("started-*"))) < 2:
        time.sleep(0.01)
    if rank == "0":
        raise ConnectionResetError(104, "Connection reset by peer")
    time.sleep(OTHER_S)
    sys.exit(3)
"""


@pytest.mark.parametrize(
    ("other_s", "rank", "exit_code"),
    [pytest.param(0.25, 1, 3, id="the other's end is told later"), pytest.param(60, 0, 1, id="there is no other end")],
)
def test_who_failed_for_want_of_another_is_not_called_the_first(
    two: Job, other_s: float, rank: int, exit_code: int
) -> None:
    command = two.script(LOSES_ITS_PEER.replace("OTHER_S", str(other_s)))
    pods = [two.start(command, pod=i) for i in range(2)]
    assert [pod.wait() for pod in pods] == [exit_code, exit_code]
    for pod in pods:
        told = pod.message["failure"]
        assert (told["reason"], told["rank"], told["exitCode"]) == ("Error", rank, exit_code)
    assert "another worker may have failed before it" in pods[0].log


HANGS = """
    import os, time
    from paceline import train
    def wait_for_a_message_that_never_comes():
        while True:
            time.sleep(3600)
    for i in range(100):
        if i == 3 and os.environ["RANK"] == "1":
            wait_for_a_message_that_never_comes()
        train.report({"step": i})
        print("reported", i, flush=True)
        if i == 3:
            time.sleep(3600)  # in a collective operation, for the other
        time.sleep(0.05)
"""


def test_a_worker_that_hangs_is_named_with_its_stack(two: Job) -> None:
    command = two.script(HANGS)
    lead = two.start(command, PACELINE_STALL_SECONDS="1.5")
    second = two.start(command, pod=1)
    assert (lead.wait(), second.wait()) == (76, 76)
    assert "rank 1 is behind, with 3 reports, others have 4" in lead.log
    told = second.message["failure"]
    assert (told["reason"], told["rank"]) == ("Stalled", 1)
    assert any("wait_for_a_message_that_never_comes" in line for line in told["lastLines"])
    assert "wait_for_a_message_that_never_comes" in second.log
    # Whichever pod's end is seen first: the other is deleted then, and its log is gone.
    assert lead.message["failure"] == told


WAITS_IN_A_COLLECTIVE = """
    import os, time
    from paceline import train
    def wait_for_the_others():
        time.sleep(3600)
    for i in range(4):
        time.sleep(0.1 * int(os.environ["RANK"]))  # rank 0 is the first to wait
        train.report({"step": i})
    wait_for_the_others()
"""


def test_of_ranks_that_all_wait_the_stopped_one_is_named(two: Job) -> None:
    command = two.script(WAITS_IN_A_COLLECTIVE)
    pods = [two.start(command, pod=i, PACELINE_STALL_SECONDS="3") for i in range(2)]
    wait_for(lambda: (s := pods[0].status()) and all(r["step"] == 3 for r in s["ranks"]))
    (worker,) = pods[1].worker_pids()
    os.kill(worker, signal.SIGSTOP)
    assert pods[1].wait() == 76
    ended = time.monotonic()
    assert pods[0].wait() == 76
    assert time.monotonic() - ended > 1, "the operator deletes what runs when the first pod has ended"
    assert "rank 1 is stopped (SIGSTOP or the like), with 4 reports, as all" in pods[0].log
    told = pods[1].message["failure"]
    assert (told["reason"], told["rank"]) == ("Stalled", 1)
    assert any("wait_for_the_others" in line for line in told["lastLines"]), "it was let go to tell where it was"
