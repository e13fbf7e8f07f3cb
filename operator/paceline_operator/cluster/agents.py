"""Asks the lead agent of each running job how far it is.

In a cluster at the pod's address, from outside through the API server.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

import aiohttp

from paceline_operator import contract
from paceline_operator.cluster.client import ApiError, Client, UnreachableError
from paceline_operator.cluster.informer import PodStore
from paceline_operator.cluster.memory import Jobs, Remembered
from paceline_operator.policies import reports
from paceline_operator.policies.observed import AgentReport, PodSeen

log = logging.getLogger(__name__)

TIMEOUT_S = 3.0
PARALLEL = 12
# Beyond this the interval grows instead: 1,000 jobs are asked every 50 s rather than 330 times a second. One question
# costs 0.2 to 0.3 ms of CPU.
POLLS_PER_S = 20.0
# An image without the agent never answers.
MAX_BACKOFF_S = 300.0
MAX_ANSWER = 1 << 20


class AgentPoller:
    """Polls the leads; a changed answer puts the job into the queue."""

    def __init__(
        self, client: Client, jobs: Jobs, pods: PodStore, changed: Callable[[str], None], *, poll_s: float
    ) -> None:
        self._client = client
        self._jobs = jobs
        self._pods = pods
        self._changed = changed
        self._poll_s = poll_s
        self._due: dict[str, float] = {}
        self._silent: dict[str, int] = {}
        self._slots = asyncio.Semaphore(PARALLEL)
        self._under_way: set[str] = set()

    async def run(self) -> None:
        """Poll until cancelled."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(min(1.0, self._poll_s))
                for key, known, lead in self._to_ask(time.monotonic()):
                    self._under_way.add(key)
                    tasks.create_task(self._ask(session, key, known, lead))

    def _to_ask(self, now: float) -> list[tuple[str, Remembered, PodSeen]]:
        found = []
        leads = []
        for key, known in self._jobs.running():
            if lead := self._lead(known):
                leads.append((key, known, lead))
        interval = max(self._poll_s, len(leads) / POLLS_PER_S)
        for key, known, lead in leads:
            if key in self._under_way or self._due.get(lead.uid, 0.0) > now:
                continue
            backoff = min(MAX_BACKOFF_S, interval * 2.0 ** min(self._silent.get(lead.uid, 0), 10))
            self._due[lead.uid] = now + backoff * random.uniform(0.9, 1.1)
            found.append((key, known, lead))
        if len(self._due) > 2 * len(leads) + 100:
            alive = {lead.uid for _, _, lead in leads}
            self._due = {uid: due for uid, due in self._due.items() if uid in alive}
            self._silent = {uid: count for uid, count in self._silent.items() if uid in alive}
        return found

    def _lead(self, known: Remembered) -> PodSeen | None:
        attempt = known.job.status.attempt
        for pod in self._pods.of(known.job.uid).values():
            if pod.index == 0 and pod.attempt == attempt:
                return pod if pod.running and pod.ip and not pod.deleting else None
        return None

    async def _ask(self, session: aiohttp.ClientSession, key: str, known: Remembered, lead: PodSeen) -> None:
        try:
            async with self._slots:
                answer = await self._fetch(session, known.job.namespace, lead)
            report = reports.read(answer, attempt=lead.attempt)
            self._silent.pop(lead.uid, None)
            if report is not None:
                self._take(key, known, lead, report)
        except (aiohttp.ClientError, TimeoutError, ApiError, UnreachableError, UnicodeDecodeError) as error:
            # An image without the agent, an agent that has not come up, a network policy: the job runs all the same.
            self._silent[lead.uid] = self._silent.get(lead.uid, 0) + 1
            log.debug("agent of pod %s does not answer: %s", lead.name, error, extra={"job": key})
        finally:
            self._under_way.discard(key)

    async def _fetch(self, session: aiohttp.ClientSession, namespace: str, lead: PodSeen) -> bytes:
        if not self._client.access.in_cluster:
            where = f"/api/v1/namespaces/{namespace}/pods/{lead.name}:{contract.AGENT_PORT}/proxy{contract.STATUS_PATH}"
            return await self._client.request("GET", where, timeout_s=TIMEOUT_S)
        host = f"[{lead.ip}]" if ":" in lead.ip else lead.ip
        async with session.get(f"http://{host}:{contract.AGENT_PORT}{contract.STATUS_PATH}") as response:
            response.raise_for_status()
            # The pod is the user's: it may answer anything, and of any length.
            return await response.content.read(MAX_ANSWER)

    def _take(self, key: str, known: Remembered, lead: PodSeen, report: AgentReport) -> None:
        if self._jobs.get(key) is not known or known.job.status.attempt != lead.attempt:
            return
        if report != known.report or known.report_attempt != lead.attempt:
            known.report, known.report_attempt = report, lead.attempt
            self._changed(key)
