from __future__ import annotations

import json
import os
import sys
import time
import uuid
from pathlib import Path

import pytest

from e2e.cluster import cleanup, paths, processes, state
from e2e.cluster.pki import Authority
from e2e.cluster.processes import BedProcess
from e2e.cluster.state import Options, State


@pytest.fixture
def sleeper(tmp_path: Path) -> BedProcess:
    # A name that no other run uses: `of_bed` looks at the whole machine.
    return BedProcess(f"unit-{uuid.uuid4().hex[:8]}", "sleeper", tmp_path)


def test_a_started_process_is_found_by_another_object_and_by_its_bed(sleeper: BedProcess, tmp_path: Path) -> None:
    sleeper.start(["sleep", "60"])
    try:
        assert BedProcess(sleeper.bed, "sleeper", tmp_path).pid == sleeper.pid
        assert processes.of_bed(sleeper.bed) == [sleeper.pid]
    finally:
        sleeper.kill()
    assert sleeper.pid is None
    assert processes.of_bed(sleeper.bed) == []


def test_a_started_process_carries_its_environment_at_once() -> None:
    """The kernel wakes the parent before the child's new environment can be read."""
    for _ in range(50):
        pid = processes.spawn(["sleep", "60"], os.environ | {"PLANTED": "here"}, Path(os.devnull))
        try:
            assert b"PLANTED=here" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        finally:
            processes.end([pid])


def test_a_process_is_there_until_its_last_thread_is_gone(sleeper: BedProcess) -> None:
    """What is started in its place would find its port taken."""
    program = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"
    sleeper.start([sys.executable, "-c", f"{program}; ctypes.CDLL(None).pthread_exit(None)"])
    record = sleeper.record
    assert record is not None
    try:
        deadline = time.monotonic() + 20
        while "State:\tZ" not in Path(f"/proc/{record.pid}/status").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert sleeper.pid == record.pid
    finally:
        sleeper.kill()
    assert sleeper.pid is None


def test_restart_keeps_the_command_and_changes_the_process(sleeper: BedProcess) -> None:
    sleeper.start(["sleep", "60"])
    first = sleeper.record
    sleeper.restart()
    try:
        second = sleeper.record
        assert first is not None
        assert second is not None
        assert second.command == first.command
        assert second.pid != first.pid
    finally:
        sleeper.kill()


def test_a_reused_process_id_is_not_taken_for_ours(sleeper: BedProcess, tmp_path: Path) -> None:
    sleeper.start(["sleep", "60"])
    file = tmp_path / "processes" / "sleeper.json"
    whole = file.read_text()
    file.write_text(json.dumps(json.loads(whole) | {"started": 1.0}))
    assert sleeper.pid is None
    file.write_text(whole)
    sleeper.kill()


def test_a_process_that_ends_early_is_told_with_its_last_words(sleeper: BedProcess) -> None:
    sleeper.ready = lambda: False
    sleeper.start(["sh", "-c", "echo no such flag; exit 1"])
    with pytest.raises(RuntimeError, match="no such flag"):
        sleeper.wait_ready()


def test_a_record_that_this_version_does_not_understand_is_no_record(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PACELINE_CACHE", str(tmp_path))
    State("demo", 3, Options(nodes=2), {"etcd": "etcd-1"}).save()
    assert state.load("demo") == State("demo", 3, Options(nodes=2), {"etcd": "etcd-1"})
    (paths.bed_dir("demo") / "state.json").write_text('{"name": "demo"}')
    assert state.load("demo") is None


def test_mounts_are_told_innermost_first() -> None:
    below = cleanup.mounts_below(Path("/sys/fs"))
    assert all(not later.startswith(f"{earlier}/") for i, earlier in enumerate(below) for later in below[i + 1 :])


def test_an_authority_opened_again_signs_with_the_same_key(tmp_path: Path) -> None:
    first = Authority(tmp_path)
    certificate = first.certificate.read_bytes()
    again = Authority(tmp_path)
    again.issue("late", "late", hosts=["10.0.0.1", "late"])
    assert again.certificate.read_bytes() == certificate
    assert (tmp_path / "late.crt").exists()
