"""SIGTERM to one pod of a group in training: all ranks save the same step and leave, and nothing is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.stores import free_port
from tests.support.agents import Job, Pod, job, wait_for

# A group in which every step ends with a barrier over all ranks, as an all-reduce is one: a rank that leaves a step
# earlier than the others leaves them hanging in it.
GROUP = """
    import json, os, pathlib, sys, tempfile, time
    from paceline import train

    rank, size = train.get_context().get_world_rank(), train.get_context().get_world_size()
    attempt = os.environ["PACELINE_ATTEMPT"]

    def all_reduce(step):
        pathlib.Path(f"reduce-{attempt}-{step}-{rank}").touch()
        while not all(pathlib.Path(f"reduce-{attempt}-{step}-{r}").exists() for r in range(size)):
            time.sleep(0.001)

    def save(step, stop):
        with tempfile.TemporaryDirectory() as d:
            pathlib.Path(d, f"step-{rank}").write_text(str(step))
            train.report({"step": step, "last": stop}, checkpoint=train.Checkpoint.from_directory(d))

    start = 0
    if checkpoint := train.get_checkpoint():
        with checkpoint.as_directory() as d:
            start = int(pathlib.Path(d, f"step-{rank}").read_text())
    print("starts after step", start, flush=True)
    for step in range(start + 1, start + 100_000):
        time.sleep(STEP_S)
        all_reduce(step)
        stop = ASK
        if stop or step % 1000 == 0:
            save(step, bool(stop))
        if stop:
            break
        if attempt == "1" and step == start + 3:
            break
    pathlib.Path(f"left-{attempt}-{rank}").write_text(json.dumps([step, stop]))
"""
ASKS = "train.should_stop()"


def script(*, step_s: float = 0.01, ask: str = ASKS) -> str:
    return GROUP.replace("STEP_S", str(step_s)).replace("ASK", ask)


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Job]:
    with job(tmp_path, workers=4, per_pod=2) as made:
        yield made


def left(made: Job, attempt: int = 0) -> list[Any]:
    """Step at which each rank left, and whether it was told to stop."""
    return [json.loads(path.read_text()) for path in sorted(made.directory.glob(f"left-{attempt}-*"))]


def in_training(made: Job, pods: list[Pod], step: int = 20) -> None:
    wait_for(lambda: list(made.directory.glob(f"reduce-0-{step}-*"))[3:])


@pytest.mark.parametrize(("told", "step_s"), [(0, 0.01), (1, 0.01), (1, 0.0), (1, 0.7)])
def test_all_ranks_leave_at_the_same_step_and_the_next_attempt_goes_on_from_it(
    four: Job, told: int, step_s: float
) -> None:
    command = four.script(script(step_s=step_s))
    pods = [four.start(command, pod=i) for i in range(2)]
    in_training(four, pods, step=20 if step_s < 0.1 else 3)
    pods[told].terminate()
    begun = time.monotonic()
    assert [pod.wait() for pod in pods] == [143, 143], pods[0].log + pods[1].log
    assert time.monotonic() - begun < 10, "within the grace period"

    steps = left(four)
    assert len(steps) == 4
    assert [stop for _, stop in steps] == [True] * 4
    assert len({step for step, _ in steps}) == 1
    last = steps[0][0]
    newest = max(four.commits().values(), key=lambda commit: commit["index"])
    assert (newest["step"], newest["metrics"]["last"], len(newest["files"])) == (last, True, 4)
    assert [pod.message["outcome"] for pod in pods] == ["terminated", "terminated"]
    assert pods[0].message["checkpoint"]["step"] == pods[0].message["progress"]["step"] == last

    again = [four.start(command, attempt=1, pod=i) for i in range(2)]
    assert [pod.wait() for pod in again] == [0, 0], again[0].log + again[1].log
    assert again[0].log.count(f"starts after step {last}\n") == 2
    assert again[0].message["resumedFrom"]["step"] == last


def test_sigterm_to_all_pods_at_once_is_no_second_signal(four: Job) -> None:
    command = four.script(script())
    pods = [four.start(command, pod=i) for i in range(2)]
    in_training(four, pods)
    pods[1].terminate()
    wait_for(lambda: "another pod was told to stop" in pods[0].log)
    pods[0].terminate()  # the operator deletes the other pods too
    assert [pod.wait() for pod in pods] == [143, 143]
    assert len({step for step, _ in left(four)}) == 1
    assert len(left(four)) == 4


def test_where_rank_0_alone_asks_and_tells_the_others_none_is_ended_before(four: Job) -> None:
    by_rank_0 = """(
            pathlib.Path(f"stop-{step}").write_text(str(int(train.should_stop()))) if rank == 0 else None,
            all_reduce(f"{step}-told"),
            pathlib.Path(f"stop-{step}").read_text() == "1")[2]"""
    command = four.script(script(step_s=0.03, ask=by_rank_0))
    pods = [four.start(command, pod=i) for i in range(2)]
    in_training(four, pods, step=100)  # by then the other pod has heard that somebody asks
    pods[1].terminate()
    assert [pod.wait() for pod in pods] == [143, 143], pods[0].log + pods[1].log
    assert len({step for step, _ in left(four)}) == 1
    assert len(left(four)) == 4


def test_a_script_that_never_asks_gets_the_signal_in_every_pod(four: Job) -> None:
    command = four.script(script(ask="False"))
    pods = [four.start(command, pod=i) for i in range(2)]
    in_training(four, pods)
    pods[1].terminate()
    begun = time.monotonic()
    assert [pod.wait() for pod in pods] == [143, 143]
    assert time.monotonic() - begun < 4
    assert [pod.message["outcome"] for pod in pods] == ["terminated", "terminated"]


def test_a_script_that_asks_and_does_not_leave_is_ended_in_time_to_store_what_it_reported(four: Job) -> None:
    command = four.script(
        """
        import pathlib, signal, tempfile, time
        from paceline import train
        signal.signal(signal.SIGTERM, lambda *_: print("got SIGTERM", flush=True))
        rank = train.get_context().get_world_rank()
        while not train.should_stop():
            time.sleep(0.01)
            pathlib.Path(f"reduce-0-20-{rank}").touch()
        with tempfile.TemporaryDirectory() as d:
            pathlib.Path(d, f"step-{rank}").write_text("7")
            train.report({"step": 7}, checkpoint=train.Checkpoint.from_directory(d))
        time.sleep(3600)
        """
    )
    pods = [four.start(command, pod=i, PACELINE_GRACE_SECONDS="6") for i in range(2)]
    in_training(four, pods)
    pods[1].terminate()
    begun = time.monotonic()
    assert [pod.wait() for pod in pods] == [143, 143]
    assert 3 < time.monotonic() - begun < 6
    assert [pod.log.count("got SIGTERM") for pod in pods] == [2, 2]
    assert [commit["step"] for commit in four.commits().values()] == [7]


def test_the_next_attempt_waits_for_the_last_checkpoint_of_the_one_before(four: Job) -> None:
    # The first attempt's last checkpoint is held until the next one has seen that there will be one.
    held = "while stop and not pathlib.Path('go').exists(): time.sleep(0.01)"
    command = four.script(script().replace("def save(step, stop):", f"def save(step, stop):\n        {held}"))
    pods = [four.start(command, pod=i) for i in range(2)]
    in_training(four, pods)
    pods[1].terminate()
    wait_for(lambda: "should_stop() is true" in pods[0].log)
    # The operator makes the new pods at once, on other nodes.
    here = free_port()
    before = {"PACELINE_PREVIOUS_LEAD": f"127.0.0.1:{four.port}", "PACELINE_LEAD": f"127.0.0.1:{here}"}
    ports: list[dict[str, Any]] = [{"PACELINE_AGENT_PORT": str(here)}, {}]
    again = [four.start(command, attempt=1, pod=i, **{**before, **ports[i]}) for i in range(2)]
    wait_for(lambda: "is storing its last checkpoint: waiting for up to" in again[0].log)
    (four.directory / "go").touch()
    assert [pod.wait() for pod in pods] == [143, 143], pods[0].log + pods[1].log
    assert [pod.wait() for pod in again] == [0, 0], again[0].log + again[1].log
    last = left(four)[0][0]
    assert again[0].message["resumedFrom"]["step"] == last
