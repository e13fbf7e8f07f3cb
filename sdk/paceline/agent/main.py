"""`python -m paceline.agent.main -- COMMAND...`: the first process of a worker container."""

from __future__ import annotations

# What takes long to import is imported later: see `run`.
import os
import signal
import sys
from collections.abc import Sequence

from paceline import _brought, _garbage
from paceline.agent import lifeline

_STARTING_S = 10.0  # an agent has its store's client and its processes by then, on most machines


def main(arguments: Sequence[str]) -> int:
    """Run the agent and return the container's exit code."""
    import asyncio

    from paceline.agent.config import AgentConfig
    from paceline.agent.errors import InvalidConfigError

    _brought.reach()
    command = list(arguments[1:] if arguments[:1] == ["--"] else arguments)
    try:
        config = AgentConfig.from_env(command, os.environ)
    except InvalidConfigError as e:
        return _refuse(e.reason, str(e), e.exit_code)
    # Imported after the configuration was found good: `--help`-like mistakes are told at once.
    from paceline.agent.agent import Agent

    async def live() -> int:
        asyncio.get_running_loop().call_later(_STARTING_S, _garbage.collect_again)
        return await Agent(config).run()

    # Not asyncio.run: that waits for threads, also for one that hangs in a dead store.
    return asyncio.new_event_loop().run_until_complete(live())


def run() -> None:
    """Entry point of `paceline-agent`."""
    # The first process of a container never sees a signal that it has no handler for. One that comes while modules are
    # imported is kept until the agent listens: else the pod would stay for the whole of its grace period.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    _garbage.hold_off()
    line = lifeline.watch(os.environ)
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    if line is not None:
        line.clean_up()
    # Threads that hang in a dead store must not hold the container.
    os._exit(code)


def _refuse(reason: str, problem: str, exit_code: int) -> int:
    import time
    from pathlib import Path

    from paceline import _contract as c
    from paceline.agent import log, status
    from paceline.agent.clock import rfc3339
    from paceline.agent.failure import Failure

    log.say(f"{reason}: {problem}")
    failure = Failure(problem, reason=reason, exit_code=exit_code, time=rfc3339(time.time()))
    message = status.termination_message("failed", exit_code, failure=failure, story={})
    try:
        Path(os.environ.get(c.TERMINATION_LOG) or "/dev/termination-log").write_bytes(message)
    except OSError:
        pass
    return exit_code


if __name__ == "__main__":
    run()
