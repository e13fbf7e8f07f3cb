"""The pods of a case: two agents with a training process each, as an operator would treat them."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.support import crash_agent, crash_workers
from tests.support.crash_points import CASE, Form, Shot, is_alive, kill, read_pid
from tests.support.crash_script import KEEP

AGENTS = ("lead", "agent1")
RANKS = 2
ATTEMPT_S = 60.0  # a clean attempt takes 0.4 s on an idle machine
_DYING_GRACE_S = 1.0  # of an attempt that lost an agent: the others cannot finish, so they need not wait long
_CALM_GRACE_S = 30.0
_LEAD_LOST_S = 10.0  # an agent whose goodbye was lost waits for so long at its end


class Pods:
    """Attempts of one case, one after the other."""

    def __init__(self, case: Path, form: Form, storage: str, more: Mapping[str, str], ports: Iterator[int]) -> None:
        """Prepare.

        Args:
            storage: Storage path of the run.
            more: Further environment variables: credentials.
        """
        self._case = case
        self.agents = AGENTS[:1] if form == "pair" else AGENTS
        self._storage = storage
        self._more = more
        self._ports = ports

    def attempt(self, number: int, shot: Shot | None, *, tick: Callable[[], None] | None) -> dict[str, int]:
        """Both pods from start to end; exit codes (negative: the signal), none for an agent that was frozen.

        Args:
            tick: Called every few milliseconds.
        Raises:
            AssertionError: It does not end.
        """
        ports = [next(self._ports) for _ in self.agents]
        grace = _DYING_GRACE_S if shot and shot.victim in AGENTS else _CALM_GRACE_S
        command = [sys.executable, "-S", "-B", str(crash_workers.SCRIPT)]
        live = {
            self._start(number, node, command, world=RANKS, port=ports[node], lead_port=ports[0], grace=grace): who
            for node, who in enumerate(self.agents)
        }
        frozen = shot is not None and shot.action == "stop"
        codes = self._wait(number, live, tick, frozen=frozen)
        if not frozen:
            self.end_workers(number)
        return codes

    def look_again(self, number: int, told: Path) -> int:
        """An attempt of one pod that only writes down what it resumes from; its exit code."""
        command = ["/bin/sh", "-c", f'printf %s "$PACELINE_RESUMED_CHECKPOINT" > {told}']
        port = next(self._ports)
        pid = self._start(number, 0, command, world=1, port=port, lead_port=port, grace=_CALM_GRACE_S)
        return self._wait(number, {pid: "lead"}, None, frozen=False)["lead"]

    def come_back(self, number: int) -> None:
        """Let the frozen agent of an attempt go on, with the SIGTERM of the kubelet behind it, until it has ended."""
        pids = [pid for who in AGENTS if (pid := read_pid(self._case / f"pid-{number}-{who}")) and is_alive(pid)]
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.05)
        _terminate(pids)
        end = time.monotonic() + 4 * _DYING_GRACE_S
        while any(map(is_alive, pids)) and time.monotonic() < end:
            time.sleep(0.01)
        self.end_workers(number)

    def end_workers(self, number: int) -> None:
        """Kill what is left of the training processes."""
        for path in self._case.glob(f"pid-{number}-rank*"):
            if (pid := read_pid(path)) and is_alive(pid):
                os.kill(pid, signal.SIGKILL)

    def end(self, server: int | None) -> None:
        """Kill and reap everything of the case, but the server."""
        for path in self._case.glob("pid-[0-9]*"):
            if (pid := read_pid(path)) and is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        while pids := {int(pid) for pid in children.read_text().split()} - {server}:
            for pid in pids:
                os.waitpid(pid, 0)

    def _wait(
        self, number: int, live: dict[int, str], tick: Callable[[], None] | None, *, frozen: bool
    ) -> dict[str, int]:
        codes: dict[str, int] = {}
        end = time.monotonic() + ATTEMPT_S
        kill_at = end
        pidfds = {pid: os.pidfd_open(pid) for pid in live}
        poll = select.poll()
        for fd in pidfds.values():
            poll.register(fd, select.POLLIN)
        try:
            while live:
                # Nothing wakes a poll when a process freezes.
                poll.poll(5 if frozen or tick else 100)
                if tick is not None:
                    tick()
                for pid in list(live):
                    found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
                    if not found:
                        continue
                    who = live.pop(pid)
                    poll.unregister(pidfds[pid])
                    gone = os.WIFSTOPPED(status)
                    if not gone:
                        codes[who] = os.waitstatus_to_exitcode(status)
                        gone = codes[who] == -signal.SIGKILL and (self._case / f"fired-{number}").exists()
                        if gone:
                            kill(self._case, number, who)  # the rest of its container
                    if gone:
                        # The operator deletes the other pods of an attempt that has lost one.
                        _terminate(live)
                        kill_at = min(kill_at, time.monotonic() + 2 * _DYING_GRACE_S)
                if time.monotonic() > end:
                    raise AssertionError(f"attempt {number} did not end within {ATTEMPT_S:g} s")
                if time.monotonic() > kill_at:
                    for pid in live:
                        os.kill(pid, signal.SIGKILL)
        finally:
            for fd in pidfds.values():
                os.close(fd)
        return codes

    def _start(
        self, number: int, node: int, command: list[str], *, world: int, port: int, lead_port: int, grace: float
    ) -> int:
        who = AGENTS[node]
        local = world if world == 1 else world // len(self.agents)
        home = self._case / f"{number}-{who}"
        (home / "tmp").mkdir(parents=True)
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RANK": str(node * local),
            "NODE_RANK": str(node),
            "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(local),
            "OMP_NUM_THREADS": "1",
            "PACELINE_JOB": "run",
            "PACELINE_RUN_ID": "run-1",
            "PACELINE_ATTEMPT": str(number),
            "PACELINE_STORAGE_PATH": self._storage,
            "PACELINE_CHECKPOINTS": json.dumps({"keep": KEEP, "scoreAttribute": "score", "scoreOrder": "max"}),
            "PACELINE_LEAD": f"127.0.0.1:{lead_port}",
            "PACELINE_AGENT_HOST": "127.0.0.1",
            "PACELINE_AGENT_PORT": str(port),
            "PACELINE_AGENT_DIR": str(home / "agent"),
            "PACELINE_TERMINATION_LOG": str(home / "termination"),
            "PACELINE_GRACE_SECONDS": str(grace),
            "PACELINE_LEAD_LOST_SECONDS": str(_LEAD_LOST_S),
            CASE: str(self._case),
            **self._more,
        }
        return crash_agent.fork(environment, command, self._case / f"log-{number}-{who}")


def free_ports(first: int, count: int) -> Iterator[int]:
    """Ports on loopback that nobody uses, round and round."""
    number = 0
    while True:
        port = first + number % count
        number += 1
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


def _terminate(pids: Mapping[int, str] | list[int]) -> None:
    for pid in pids:
        if is_alive(pid):
            os.kill(pid, signal.SIGTERM)
