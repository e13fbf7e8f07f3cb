"""Which of the remembered jobs are still there? What went while nobody watched is told by no event.

kopf lists TrainJobs again after its watch broke off, and hands over what is listed. Of a job that was deleted in
between it says nothing: it would be remembered, and counted in the metrics, for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from paceline.api import names
from paceline_operator.cluster.client import METADATA_LIST, ApiError, UnreachableError
from paceline_operator.cluster.listing import pages

log = logging.getLogger(__name__)

# A list that kopf hands over comes object by object.
SETTLES_S = 2.0
# Of a list without any job kopf tells nothing at all.
AGAIN_S = 600.0
RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class Present:
    """A job that is remembered."""

    key: str
    """`namespace/name`."""
    uid: str
    resource_version: int


class Lists(Protocol):
    """What is needed of a client."""

    async def request(
        self, method: str, path: str, *, params: dict[str, str] | None = None, accept: str | None = None
    ) -> bytes:
        """Send one request. Raises ApiError or UnreachableError."""
        ...


class RollCall:
    """Compares what is remembered with a list of metadata: after each list of kopf's, and once in ten minutes."""

    def __init__(
        self,
        client: Lists,
        namespaces: Sequence[str],
        remembered: Callable[[], Iterable[Present]],
        gone: Callable[[str, str], None],
    ) -> None:
        """`gone` is told key and uid of each job that is remembered and is no more."""
        self._client = client
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._remembered = remembered
        self._gone = gone
        self._asked = asyncio.Event()

    def soon(self) -> None:
        """Look soon: kopf has listed, so its watch had ended."""
        self._asked.set()

    async def run(self) -> None:
        """Look when it is worth it, until cancelled."""
        wait = AGAIN_S
        while True:
            try:
                await asyncio.wait_for(self._asked.wait(), wait)
                await asyncio.sleep(SETTLES_S)
            except TimeoutError:
                pass
            self._asked.clear()
            wait = AGAIN_S
            try:
                await self.look()
            except (ApiError, UnreachableError, msgspec.DecodeError) as error:
                wait = RETRY_S
                log.warning("cannot tell which jobs are gone, trying again in %d s: %s", RETRY_S, error)

    async def look(self) -> None:
        """Forget the jobs that are gone.

        Raises:
            ApiError: The server refused or failed.
            UnreachableError: No answer.
        """
        for namespace in self._namespaces:
            if not any(True for _ in self._of(namespace)):
                continue
            uids, version = await self._list(namespace)
            for job in list(self._of(namespace)):
                # One that is known in a later version than the list's was made, or changed, after it.
                if job.uid not in uids and job.resource_version <= version:
                    log.info("%s is gone, and its deletion was never told", job.key, extra={"job": job.key})
                    self._gone(job.key, job.uid)

    def _of(self, namespace: str | None) -> Iterable[Present]:
        return (job for job in self._remembered() if namespace in (None, job.key.partition("/")[0]))

    async def _list(self, namespace: str | None) -> tuple[set[str], int]:
        where = f"namespaces/{namespace}/" if namespace else ""
        path = f"/apis/{names.API_VERSION}/{where}{names.PLURAL}"
        uids, version = set[str](), 0
        async for page in pages(lambda params: self._client.request("GET", path, params=params, accept=METADATA_LIST)):
            uids.update(found.metadata.uid for found in page.items)
            version = int(page.metadata.resource_version)
        return uids, version
