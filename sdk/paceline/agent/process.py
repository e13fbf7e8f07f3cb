"""One training process: its environment, its start, its signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import paceline
from paceline import _contract as c
from paceline.agent import keras
from paceline.agent.config import AgentConfig
from paceline.agent.errors import CommandError

_SHELLS = {"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"}


class Process:
    """A started process, leader of its own session."""

    def __init__(self, rank: int, popen: subprocess.Popen[bytes]) -> None:
        self.rank = rank
        self.returncode: int | None = None  # negative: ended by this signal
        self.signalled = False  # by the agent
        self._popen = popen

    @property
    def pid(self) -> int:
        """Also the number of its process group."""
        return self._popen.pid

    def poll(self) -> bool:
        """Whether it has ended; reaps it."""
        if self.returncode is None:
            self.returncode = self._popen.poll()
        return self.returncode is not None

    def ask_to_end(self) -> None:
        """SIGTERM to the process alone: its helpers (data loaders) must live while it saves.

        A shell would die of it and leave the training behind, so there the whole group gets it.
        """
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self.returncode is not None:
            return
        self.signalled = True
        try:
            if Path(f"/proc/{self.pid}/exe").resolve().name in _SHELLS:
                os.killpg(self.pid, number)
                os.killpg(self.pid, signal.SIGCONT)
            else:
                self._popen.send_signal(number)
                self._popen.send_signal(signal.SIGCONT)  # one that is stopped would not hear of it
        except (ProcessLookupError, PermissionError, FileNotFoundError):  # the last: it has just ended
            pass

    def ask_for_stacks(self) -> None:
        """SIGABRT: Python writes the stack of every thread to stderr (PYTHONFAULTHANDLER) and ends."""
        self._signal(signal.SIGABRT)

    def kill(self) -> None:
        """SIGKILL to it and all that it started in its session's group."""
        self.signalled = self.signalled or self.returncode is None
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def start(
    config: AgentConfig, local_rank: int, *, socket: Path, stop_page: Path, cwd: Path, resumed: str
) -> tuple[Process, int, int]:
    """Start the process and return it with the read ends of its stdout and stderr.

    Raises:
        CommandError: The command is not there or cannot be executed.
    """
    env = environment(config, local_rank, socket=socket, stop_page=stop_page, resumed=resumed)
    program = _find(config.command[0], env, cwd)
    env |= keras.variables(env, program)
    try:
        popen = subprocess.Popen(
            config.command,
            executable=program,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise CommandError(
            f"cannot start {program}: the program that its first line names is not in the image", c.EXIT_NOT_FOUND
        ) from None
    except OSError as e:
        hint = ""
        if e.strerror == "Exec format error":
            hint = ": built for another machine, or a script without its #! line"
        raise CommandError(f"cannot start {program}: {e.strerror}{hint}", c.EXIT_NOT_EXECUTABLE) from None
    assert popen.stdout is not None
    assert popen.stderr is not None
    pipes = os.dup(popen.stdout.fileno()), os.dup(popen.stderr.fileno())
    popen.stdout.close()
    popen.stderr.close()
    return Process(config.first_rank + local_rank, popen), *pipes


def environment(config: AgentConfig, local_rank: int, *, socket: Path, stop_page: Path, resumed: str) -> dict[str, str]:
    """What the process with this local rank sees."""
    rank = config.first_rank + local_rank
    env = dict(config.environ)
    env.update(
        {
            c.RANK: str(rank),
            c.WORLD_SIZE: str(config.world_size),
            c.LOCAL_RANK: str(local_rank),
            c.LOCAL_WORLD_SIZE: str(config.local_world_size),
            c.NODE_RANK: str(config.node_rank),
            c.GROUP_RANK: str(config.node_rank),
            c.AGENT_SOCKET: str(socket),
            c.STOP_PAGE: str(stop_page),
            c.STAGING: str(config.directory / "staging"),
            c.RESUMED_CHECKPOINT: resumed,
        }
    )
    env.setdefault(c.MASTER_ADDR, "127.0.0.1")
    env.setdefault(c.MASTER_PORT, str(c.DEFAULT_MASTER_PORT))
    env.setdefault(c.OMP_NUM_THREADS, str(max(1, _cpus() // config.local_world_size)))
    # Lines reach the log when they are printed, also when the process is killed right after.
    env.setdefault("PYTHONUNBUFFERED", "1")
    # What a process was doing when it crashed in native code, or when it was ended because it hung.
    env.setdefault("PYTHONFAULTHANDLER", "1")
    if tf_config := env.get(c.TF_CONFIG):
        env[c.TF_CONFIG] = _tf_config(tf_config, rank)
    env["PYTHONPATH"] = _python_path(env)
    return env


def _cpus() -> int:
    """CPUs that this process may use; not every system tells which."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _python_path(env: Mapping[str, str]) -> str:
    """The directory of this very `paceline` in front, without the agent's vendored packages."""
    core = str(Path(paceline.__file__).resolve().parent.parent)
    vendor = str(Path(core).parent / "vendor")
    others = [p for p in env.get("PYTHONPATH", "").split(os.pathsep) if p and p not in (core, vendor)]
    if Path(core).name in ("site-packages", "dist-packages"):
        # Installed in the image: it is found anyway, and in front it would hide what the user put on the path.
        return os.pathsep.join(others)
    return os.pathsep.join([core, *others])


def _tf_config(text: str, rank: int) -> str:
    try:
        told = json.loads(text)
        told["task"]["index"] = rank
    except (ValueError, KeyError, TypeError):
        return text  # the user's own kind of cluster
    return json.dumps(told)


def _find(name: str, env: Mapping[str, str], cwd: Path) -> str:
    if "/" in name:
        path = cwd / name
        if not path.exists():
            raise CommandError(f"the command {name} is not in the image (looked in {cwd})", c.EXIT_NOT_FOUND)
        if path.is_dir() or not os.access(path, os.X_OK):
            raise CommandError(
                f"the command {name} cannot be executed by uid {os.getuid()}: "
                + ("it is a directory" if path.is_dir() else "chmod +x it, or start it with its interpreter"),
                c.EXIT_NOT_EXECUTABLE,
            )
        return str(path)
    found = shutil.which(name, path=env.get("PATH"))
    if found is None:
        raise CommandError(
            f"the command {name!r} is not on PATH ({env.get('PATH', '')}): correct spec.command or the image",
            c.EXIT_NOT_FOUND,
        )
    return found
