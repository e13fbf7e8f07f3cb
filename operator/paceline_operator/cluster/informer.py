"""What TrainJobs own, kept up to date by list and watch: pods, found by the uid of their job, and Services.

It starts again from a list when the watch has expired (410), and never ends by itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from paceline_operator import contract
from paceline_operator.cluster import pods as wire
from paceline_operator.cluster.client import ApiError, Client, UnreachableError
from paceline_operator.cluster.listing import pages
from paceline_operator.policies.observed import PodSeen

log = logging.getLogger(__name__)

# Bookmarks come every minute: silence beyond that is a dead connection.
SILENCE_S = 90.0
WATCH_S = 300
MAX_BACKOFF_S = 30.0
GONE = 410
EVERYWHERE = ""


class Shown(ABC):
    """Objects of a kind as the watch shows them, and up to which version it has."""

    def __init__(self) -> None:
        # One watch shows its events in order; two watches (of two namespaces) know nothing of each other.
        self._versions: dict[str, int] = {}
        self.listed: Callable[[], None] = lambda: None
        """Told after each list: what came and went since the last one was never shown."""

    def version(self, namespace: str) -> int:
        """Return the version up to which the objects of a namespace were shown."""
        return self._versions.get(namespace) or self._versions.get(EVERYWHERE, 0)

    def bookmark(self, resource_version: str, scope: str = EVERYWHERE) -> None:
        """Note that everything up to this version was seen."""
        self._versions[scope] = max(self._versions.get(scope, 0), int(resource_version))

    def replace(self, listed: Iterable[wire.Pod], resource_version: str, scope: str = EVERYWHERE) -> None:
        """Take over a complete list of a scope: what is not in it is gone."""
        uids = set()
        for found in listed:
            uids.add(found.metadata.uid)
            self.put(found, scope)
        for uid, key in self.keys():
            if uid not in uids and scope in (EVERYWHERE, key.partition("/")[0]):
                self.remove(uid, scope=scope)
        self.bookmark(resource_version, scope)
        self.listed()

    @abstractmethod
    def put(self, found: wire.Pod, scope: str = EVERYWHERE) -> None:
        """Take over an object from a list or an event."""

    @abstractmethod
    def remove(self, uid: str, resource_version: str = "0", scope: str = EVERYWHERE) -> None:
        """Forget an object that is gone."""

    @abstractmethod
    def keys(self) -> list[tuple[str, str]]:
        """Return the uid of each object, and the key of its job."""


class PodStore(Shown):
    """Pods by owner: what a reconcile reads costs as much as the job has pods, however many others there are."""

    def __init__(self, changed: Callable[[str, str], None]) -> None:
        super().__init__()
        self._changed = changed
        self.gone: Callable[[str, str, PodSeen], None] = lambda key, owner, last: None
        """Told of each pod that is no more: key and uid of its job, and how it was last seen."""
        self._by_owner: dict[str, dict[str, PodSeen]] = {}
        self._owner: dict[str, tuple[str, str]] = {}

    def __len__(self) -> int:
        return len(self._owner)

    def of(self, owner_uid: str) -> dict[str, PodSeen]:
        """Return the pods of a job by uid. Not to be changed."""
        return self._by_owner.get(owner_uid, {})

    def put(self, found: wire.Pod, scope: str = EVERYWHERE) -> None:
        """Take over a pod from a list or an event."""
        seen, owner = wire.seen(found), wire.owner_uid(found)
        if seen is None or not owner:
            return
        known = self._by_owner.setdefault(owner, {})
        old = known.get(seen.uid)
        if old is not None and old.resource_version >= seen.resource_version:
            return
        known[seen.uid] = seen
        key = f"{found.metadata.namespace}/{found.metadata.labels.get(contract.LABEL_JOB, '')}"
        self._owner[seen.uid] = (owner, key)
        self.bookmark(found.metadata.resource_version, scope)
        self._changed(key, owner)

    def remove(self, uid: str, resource_version: str = "0", scope: str = EVERYWHERE) -> None:
        """Forget a pod that is gone."""
        self.bookmark(resource_version, scope)
        owner, key = self._owner.pop(uid, ("", ""))
        if owner:
            known = self._by_owner[owner]
            last = known.pop(uid)
            if not known:
                del self._by_owner[owner]
            self.gone(key, owner, last)
            self._changed(key, owner)

    def keys(self) -> list[tuple[str, str]]:
        """Return the uid of each pod, and the key of its job."""
        return [(uid, key) for uid, (_, key) in self._owner.items()]


class Informer:
    """Feeds a store from one namespace, or from all, with the objects that bear a job's label."""

    def __init__(
        self, client: Client, store: Shown, kind: Literal["pods", "services"], namespace: str | None = None
    ) -> None:
        self._client = client
        self._store = store
        self._kind = kind
        self._scope = namespace or EVERYWHERE
        self._path = f"/api/v1/namespaces/{namespace}/{kind}" if namespace else f"/api/v1/{kind}"
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """List and watch until cancelled."""
        failures = 0
        while True:
            try:
                version = await self._list()
                self.synced.set()
                failures = 0
                await self._watch(version)
            except (ApiError, UnreachableError, msgspec.DecodeError) as error:  # noqa: PERF203
                failures += 1
                wait = min(MAX_BACKOFF_S, 0.5 * 2**failures) * random.uniform(0.5, 1.0)
                log.warning("%s cannot be listed or watched, trying again in %.1f s: %s", self._kind, wait, error)
                await asyncio.sleep(wait)

    async def _list(self) -> str:
        found: list[wire.Pod] = []
        version = ""
        ask = lambda params: self._client.request("GET", self._path, params=params)  # noqa: E731
        async for page in pages(ask, labelSelector=contract.LABEL_JOB):
            found += page.items
            version = page.metadata.resource_version
        self._store.replace(found, version, self._scope)
        return version

    async def _watch(self, version: str) -> None:
        """Watch from `version` on; returns when a new list is needed."""
        failures = 0
        while True:
            params = {
                "labelSelector": contract.LABEL_JOB,
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                "timeoutSeconds": str(int(WATCH_S * random.uniform(1.0, 2.0))),
            }
            try:
                async with self._client.stream(self._path, params, silence_s=SILENCE_S) as lines:
                    async for line in lines:
                        event = wire.decode_event(line)
                        if event.type == "ERROR":
                            problem = wire.decode_error(event.object)
                            raise ApiError(problem.code, "WatchError", problem.message)
                        version = self._take(event)
                        failures = 0
            except ApiError as error:
                if error.code == GONE:
                    return
                raise
            except UnreachableError as error:
                failures += 1
                if failures > 5:
                    raise
                log.info("the watch of %s broke off, going on from version %s: %s", self._kind, version, error)
                await asyncio.sleep(min(MAX_BACKOFF_S, 0.1 * 2**failures))

    def _take(self, event: wire.WatchEvent) -> str:
        if event.type == "BOOKMARK":
            version = wire.decode_bookmark(event.object).metadata.resource_version
            self._store.bookmark(version, self._scope)
            return version
        pod = wire.decode_pod(event.object)
        if event.type == "DELETED":
            # It tells how the pod was at the end, which may be more than was told before.
            self._store.put(pod, self._scope)
            self._store.remove(pod.metadata.uid, pod.metadata.resource_version, self._scope)
        else:
            self._store.put(pod, self._scope)
        return pod.metadata.resource_version
