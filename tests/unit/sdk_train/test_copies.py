"""One copy for all processes of a machine, whatever dies in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from paceline.train import _copies
from paceline.train._copies import shared_copy
from tests.support.agents import SDK, wait_for
from tests.support.timeouts import LOCAL_S


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"paceline-copies-{os.getuid()}"


class Maker:
    def __init__(self, content: str = "x") -> None:
        self.made = 0
        self.content = content

    def __call__(self, directory: Path) -> None:
        self.made += 1
        (directory / "file").write_text(self.content)


def test_users_at_the_same_time_share_one_copy_and_the_last_removes_it(temporary: Path) -> None:
    make, meet = Maker(), threading.Barrier(6)

    def use() -> Path:
        with shared_copy("a", make) as directory:
            meet.wait(LOCAL_S)
            assert (directory / "file").read_text() == "x"
            return directory

    with ThreadPoolExecutor(6) as pool:
        directories = [future.result() for future in [pool.submit(use) for _ in range(6)]]
    assert (make.made, len(set(directories))) == (1, 1)
    assert list(temporary.iterdir()) == []


def test_different_names_have_different_copies(temporary: Path) -> None:
    with shared_copy("a", Maker("1")) as a, shared_copy("b", Maker("2")) as b:
        assert ((a / "file").read_text(), (b / "file").read_text()) == ("1", "2")
    assert list(temporary.iterdir()) == []


def test_who_waited_tries_itself_when_the_first_one_fails(temporary: Path) -> None:
    begun, make = threading.Event(), Maker()

    def broken(directory: Path) -> None:
        (directory / "part").touch()
        begun.set()
        assert not waiter.done()
        raise OSError("disk full")

    def second() -> str:
        begun.wait(LOCAL_S)
        with shared_copy("a", make) as directory:
            return ",".join(sorted(path.name for path in directory.iterdir()))

    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(second)
        with pytest.raises(OSError, match="disk full"), shared_copy("a", broken):
            pass
        assert waiter.result() == "file"
    assert make.made == 1


def other_process(temporary: Path, body: str) -> subprocess.Popen[str]:
    script = f"""
import os, sys, time
from pathlib import Path
from paceline.train import _copies
from paceline.train._copies import shared_copy
def make(directory):
    (directory / "file").write_text("theirs")
    {body if "making" in body else "pass"}
with shared_copy("a", make) as directory:
    print(directory, flush=True)
    {body if "making" not in body else "pass"}
"""
    env = {"PYTHONPATH": str(SDK), "TMPDIR": str(temporary.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=env,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def test_processes_share_and_what_a_killed_one_left_is_removed(temporary: Path) -> None:
    make = Maker("ours")
    other = other_process(temporary, "sys.stdin.read()")
    assert other.stdout is not None
    theirs = Path(other.stdout.readline().strip())
    with shared_copy("a", make) as directory:
        assert directory == theirs
        assert (directory / "file").read_text() == "theirs"
    assert theirs.exists()  # still used by the other one
    other.send_signal(signal.SIGKILL)
    other.wait(LOCAL_S)
    other.stdout.close()
    assert theirs.exists()
    with shared_copy("something else", make):
        assert not theirs.exists()
    assert list(temporary.iterdir()) == []


def test_a_process_killed_while_it_downloads_leaves_no_half_copy(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting_now = threading.Event()
    monkeypatch.setattr(_copies, "_remove_unused", lambda base: waiting_now.set())
    other = other_process(temporary, "print('making', flush=True); time.sleep(60)")
    assert other.stdout is not None
    assert other.stdout.readline() == "making\n"
    with ThreadPoolExecutor(1) as pool:
        make = Maker("ours")

        def use() -> str:
            with shared_copy("a", make) as directory:
                return (directory / "file").read_text()

        waiting = pool.submit(use)
        waiting_now.wait(LOCAL_S)
        other.send_signal(signal.SIGKILL)
        assert waiting.result(LOCAL_S) == "ours"
    other.wait(LOCAL_S)
    other.stdout.close()
    assert list(temporary.iterdir()) == []


def test_a_forked_child_that_lives_on_does_not_keep_the_copy(temporary: Path) -> None:
    with shared_copy("a", Maker()):
        if (pid := os.fork()) == 0:
            signal.pause()
    try:
        assert list(temporary.iterdir()) == []
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_directory_of_another_user_is_not_trusted(temporary: Path) -> None:
    temporary.symlink_to(temporary.parent)
    with pytest.raises(PermissionError, match="set TMPDIR"), shared_copy("a", Maker()):
        pass


def test_many_threads_that_come_and_go_never_see_a_copy_vanish(temporary: Path) -> None:
    make = Maker()

    def use(_: int) -> None:
        for _ in range(25):
            with shared_copy("a", make) as directory:
                assert (directory / "file").read_text() == "x"

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    assert wait_for(lambda: list(temporary.iterdir()) == [])
