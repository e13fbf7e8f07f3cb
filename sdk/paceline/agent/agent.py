"""The life of one agent: start, supervise, finish, tell."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from paceline import _contract as c
from paceline.agent import figures, log, orphans, process, serving, status, tracking, workdir
from paceline.agent.channel import Channel
from paceline.agent.clock import rfc3339
from paceline.agent.config import AgentConfig
from paceline.agent.ending import Ending
from paceline.agent.errors import AgentError, FencedError, InvalidConfigError
from paceline.agent.failure import Failure
from paceline.agent.lead import Lead
from paceline.agent.link import HttpLink, LocalLink
from paceline.agent.node import Node
from paceline.agent.output import Output
from paceline.agent.server import Server
from paceline.agent.waiting import until_set
from paceline.agent.witness import Witness

_TICK_S = 0.5
_FINISH_TICK_S = 0.05
_STACKS_FIRST_S = 3.0  # for the pod of a stalled rank to end before the others


class Agent:
    """Supervises the processes of one pod."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._lead = Lead(config) if config.is_lead else None
        link = LocalLink(self._lead) if self._lead else HttpLink(*config.lead)
        self._changed = asyncio.Event()
        lead = self._lead
        self._node = Node(
            config,
            link,
            changed=self._changed.set,
            reported=lead.reported if lead else _nobody,
            configured=lead.configured if lead else _nobody,
            tracked=lead.tracked if lead else _nobody,
        )
        self._channel = Channel(config.directory, self._node.received, log.say)
        self._output = Output()
        self._witness = Witness(self._node, self._output)
        self._processes: list[process.Process] = []
        self._ending = Ending(self._processes, config.grace_s)
        self._server: Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._aside: list[asyncio.Task[None]] = []  # nobody waits for these but the end
        self._failure: Failure | None = None
        self._terminated_at: float | None = None
        self._finishing_since: float | None = None
        self._signals = 0  # that came from outside
        self._state = "starting"
        self._trained = False  # every process had succeeded before any signal came

    async def run(self) -> int:
        """Do everything; the exit code of the container comes back. Never raises for what a user can cause."""
        try:
            await self._open()
            await self._start()
            await self._supervise()
            await self._finish()
        except AgentError as e:
            self._fail(e)
            await self._node.last_word()
        finally:
            for survivor in self._processes:
                survivor.kill()
        exit_code = self._judge()
        await self._leave_word(exit_code)
        await self._let_the_stalled_end()
        self._close()
        return exit_code

    # --- start ---------------------------------------------------------------------------------

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate, number)
        # `main` holds them back until here.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        loop.add_signal_handler(signal.SIGCHLD, self._changed.set)
        try:
            # With `inject: false` nobody else has made them.
            for name in ("HOME", "TMPDIR"):
                if directory := self._config.environ.get(name):
                    workdir.make(Path(directory))
            self._node.staging.mkdir(parents=True, exist_ok=True)
            self._channel.open()
            self._node.stopping.open(self._config.ranks)
        except OSError as e:
            raise InvalidConfigError(f"the agent cannot use its directory {self._config.directory}: {e}") from e
        self._output.start()
        routes = serving.routes(self._config, self._lead, status=self.status, figures=self._node.figures)
        self._server = Server(routes, serving.routes_at_once(self._config, self._lead))
        try:
            await self._server.start(self._config.http_host, self._config.http_port)
            serving.tell_port(self._config.directory, self._server.port)
        except OSError as e:
            raise InvalidConfigError(
                f"port {self._config.http_port} cannot be used ({e.strerror or e}): with hostNetwork only one pod of a"
                " job fits on a node"
            ) from e

    async def _start(self) -> None:
        if self._lead is not None:
            # Before the store: until the lead has begun, no pod starts anything.
            await self._until_terminated(tracking.look(self._config, self._lead.trackers))
            await self._until_terminated(self._lead.start())
            self._tasks.append(self._background(self._lead.serve()))
        else:
            log.say(f"waiting for the lead agent at {':'.join(map(str, self._config.lead))}")
        self._tasks.append(self._background(self._node.run()))
        while not self._node.ready and not self._is_stopped():
            await self._next_change()
        if self._is_stopped():
            return
        artifacts = self._node.artifacts
        try:
            cwd = workdir.of(self._config, artifacts=artifacts.wanted)
        except OSError as e:
            raise InvalidConfigError(f"no writable working directory: {e}") from e
        artifacts.watch(cwd)
        self._aside.append(self._background(artifacts.serve()))
        resumed = self._node.orders.resumed
        if resumed is not None and self._lead is not None:
            log.say(f"resuming from {resumed['path']} (step {resumed['step']})")
        several = self._config.local_world_size > 1
        for local_rank, rank in enumerate(self._config.ranks):
            started, stdout, stderr = process.start(
                self._config,
                local_rank,
                socket=self._channel.path,
                stop_page=self._node.stopping.path(rank),
                cwd=cwd,
                resumed=json.dumps(resumed) if resumed else "",
            )
            self._processes.append(started)
            self._output.add(rank, stdout, stderr, prefix=f"[rank {rank}] " if several else "")
            self._node.started(rank, started.pid)
        self._state = "running"
        self._node.wake()

    async def _until_terminated(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        while not task.done() and self._terminated_at is None:
            change = asyncio.ensure_future(self._changed.wait())
            await asyncio.wait({task, change}, return_when=asyncio.FIRST_COMPLETED)
            change.cancel()
            self._changed.clear()
        if task.done():
            task.result()
        else:
            task.cancel()

    def _background(self, work: Any) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await work
            except AgentError as e:
                self._node.fatal = self._node.fatal or e
            except Exception as e:  # a defect of ours must end the attempt, not leave it hanging
                self._node.fatal = self._node.fatal or AgentError(f"the agent failed: {type(e).__name__}: {e}")
                log.say(f"internal error: {e!r}")
            finally:
                self._changed.set()

        return asyncio.create_task(guarded())

    # --- supervision ---------------------------------------------------------------------------

    async def _supervise(self) -> None:
        """Until every process has ended."""
        if not self._processes:
            # Stopped before the start: nobody shall wait for reports of these ranks.
            self._node.ranks = {r: replace(rank, state="failed") for r, rank in self._node.ranks.items()}
        while not self._reap() or self._witness.in_doubt:
            tick_s = _FINISH_TICK_S if self._witness.in_doubt else _TICK_S
            self._settle_doubt()
            if self._is_stopped() and not self._ending.begun:
                self._end_processes()
            self._ending.enforce()
            await self._next_change(tick_s)

    def _reap(self) -> bool:
        orphans.reap({p.pid for p in self._processes})
        for ended in [p for p in self._processes if p.returncode is None and p.poll()]:
            self._note_end(ended)
        return all(p.returncode is not None for p in self._processes)

    def _note_end(self, ended: process.Process) -> None:
        ended.kill()  # what it left behind in its group
        self._channel.drain()
        assert ended.returncode is not None
        code = 128 - ended.returncode if ended.returncode < 0 else ended.returncode
        failed = code != 0
        if failed and not self._is_stopped():
            self._adopt(self._witness.first_failure(ended.rank, ended.returncode))
        elif failed and not ended.signalled:
            # Of itself, or since another has left: what came first is the stop, so only the log has it.
            log.say(f"while the group ends: {self._witness.failure(ended.rank, ended.returncode).sentence}")
        left = replace(self._node.ranks[ended.rank], state="failed" if failed else "succeeded", exit_code=code)
        self._node.ranks[ended.rank] = left
        # The lead ends as well, and its word may be the one that the operator reads.
        if (stop := self._stop) is not None and ended.rank == stop.rank and self._failure is None:
            self._node.failure = self._witness.with_stacks(stop)
        self._node.wake()

    def _adopt(self, failure: Failure | None) -> None:
        if failure is not None:
            self._failure = self._node.failure = failure
            log.say(failure.sentence)

    def _settle_doubt(self) -> None:
        """A process may have failed for want of another one, of whose failure the lead may still tell."""
        if self._is_stopped():
            self._witness.acquit()
        self._adopt(self._witness.late())

    def _end_processes(self) -> None:
        if self._terminated_at is not None:
            asking = self._failure is None and self._stop is None and self._node.asks
            self._ending.after_signal(self._terminated_at, asking=asking)
            return
        stop = self._stop if self._failure is None else None
        if stop is not None:
            log.say(f"the attempt ends: {stop.sentence}")
        self._ending.after_failure(stacks=stop is not None and stop.reason == c.REASON_STALLED)

    def _is_stopped(self) -> bool:
        return (
            self._terminated_at is not None
            or self._failure is not None
            or self._node.fatal is not None
            or self._stop is not None
        )

    async def _next_change(self, limit_s: float = _TICK_S) -> None:
        await until_set(self._changed, limit_s)
        self._changed.clear()
        leaving = self._lead.leaving if self._lead is not None else self._node.orders.hold
        if leaving and self._terminated_at is None:
            self._terminated_at = time.monotonic()
            log.say("another pod was told to stop: the group ends with it, and stores what was reported")

    def _terminate(self, number: int) -> None:
        self._signals += 1
        if self._signals > 1:
            self._ending.ask()
        elif self._terminated_at is None:
            self._reap()  # what had ended before did not end of this
            self._terminated_at = time.monotonic()
            log.say(f"{signal.Signals(number).name}: ending the processes, then storing what they reported")
            if self._lead is not None:
                self._lead.leave()
            self._node.leave()
        self._changed.set()

    # --- the end -------------------------------------------------------------------------------

    async def _finish(self) -> None:
        """Store what was reported and part from the other agents."""
        self._state = "finishing"
        self._trained = self._terminated_at is None and bool(self._processes) and not self._is_stopped()
        begun = self._finishing_since = time.monotonic()
        artifacts: asyncio.Task[None] | None = None
        last: asyncio.Task[None] | None = None  # what was reported after the last sync of the run files
        while not self._node.fatal and not self._is_late(begun):
            done = self._node.idle and (self._lead is None or self._lead.idle)
            if done and artifacts is None:
                # Checkpoints had their turn.
                artifacts = self._background(self._node.artifacts.sync())
                self._aside.append(artifacts)
            done = done and artifacts is not None and artifacts.done()
            if done != self._node.done:
                self._node.done = done
                self._node.wake()
            if self._lead is None and all(task.done() for task in self._tasks):
                break
            if self._lead is not None and done and self._lead.others_done(stopped=self._is_stopped()):
                if last is None:
                    last = self._background(self._lead.sync())
                    self._aside.append(last)
                if last.done():
                    break
            await self._next_change(_FINISH_TICK_S)
        if self._node.fatal is not None:
            raise self._node.fatal

    @property
    def _stop(self) -> Failure | None:
        """Why the attempt ends for all. Pod 0 asks the lead itself: its own last beat may be behind it."""
        return self._lead.failure if self._lead is not None else self._node.orders.stop

    def _is_late(self, begun: float) -> bool:
        """The last second of the grace period is for the termination message."""
        if self._terminated_at is not None:
            return time.monotonic() > self._terminated_at + max(0.5, self._config.grace_s - 1)
        return self._is_stopped() and time.monotonic() > begun + self._config.grace_s

    def _fail(self, error: AgentError) -> None:
        if self._failure is None:
            now = rfc3339(time.time())
            self._failure = Failure(str(error), reason=error.reason, exit_code=error.exit_code, time=now)
            self._node.failure = self._failure
        log.say(f"{error.reason}: {error}")

    def _judge(self) -> int:
        """Outcome of this pod, as `_state`, and the exit code."""
        self._failure = self._failure or self._witness.with_stacks(self._stop)
        if self._failure is not None:
            self._state = "failed"
            return self._failure.exit_code or 1
        if self._terminated_at is not None and not (self._trained and self._node.done):
            self._state = "terminated"
            return c.EXIT_TERMINATED
        self._state = "succeeded"
        return 0

    async def _leave_word(self, exit_code: int) -> None:
        """Termination message; on the lead also the run files and error.json."""
        story = self._lead.story() if self._lead else {}
        message = status.termination_message(self._state, exit_code, failure=self._failure, story=story)
        try:
            self._config.termination_log.write_bytes(message)
        except OSError as e:
            log.say(f"cannot write the termination message: {e}")
        if self._lead is None or not self._lead.ready or isinstance(self._node.fatal, FencedError):
            return
        try:
            await asyncio.wait_for(self._lead.sync(), 10)
            if self._state != "terminated":
                await asyncio.wait_for(self._lead.write_error(self._failure), 10)
        except (AgentError, asyncio.TimeoutError, Exception) as e:
            log.say(f"the run files could not be stored: {e}")

    async def _let_the_stalled_end(self) -> None:
        """With the first pod that ends the others are deleted, and the stacks stand in one of them."""
        end, told = time.monotonic() + _STACKS_FIRST_S, self._failure
        elsewhere = told is not None and told.reason == c.REASON_STALLED and told.rank not in self._config.ranks
        while elsewhere and not self._signals and time.monotonic() < end:
            await self._next_change()

    def _close(self) -> None:
        for task in [*self._tasks, *self._aside]:
            task.cancel()
        self._node.close()
        if self._lead is not None:
            self._lead.close()
        self._output.close()
        self._channel.close()
        if self._server is not None:
            self._server.close()

    # --- what is told --------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The body of `/status`."""
        ranks = self._lead.ranks() if self._lead and self._lead.ready else list(self._node.ranks.values())
        failure = self._failure or self._stop
        story = self._lead.story() if self._lead else {}
        if self._lead is not None:
            uploads = self._lead.uploads()
        else:
            uploads = figures.uploads(self._node.pending_rounds, [self._node.figures()])
        return status.status(
            self._config,
            self._state,
            ranks=ranks,
            story=story,
            failure=failure,
            uploads=uploads,
            straggler=self._lead.straggler if self._lead else None,
            leaving=self._terminated_at is not None,
            ends_in_s=self._ends_in_s,
            tracking_problem=self._lead.trackers.problem if self._lead else None,
        )

    @property
    def _ends_in_s(self) -> float | None:
        if not self._is_stopped():
            return None
        since = self._terminated_at or self._finishing_since or time.monotonic()
        return max(0.0, since + self._config.grace_s - time.monotonic())


def _nobody(*told: Any) -> None:
    """Rank 0 is in another pod."""
