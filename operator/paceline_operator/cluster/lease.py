"""Leader election: one operator works at a time, known by a Lease that it renews."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from datetime import datetime, timezone
from typing import Any

import msgspec

from paceline_operator.cluster.client import ApiError, UnreachableError
from paceline_operator.cluster.executor import CONFLICT, NOT_FOUND, Api

log = logging.getLogger(__name__)


class LostError(Exception):
    """The lease could not be renewed in time: another operator may be working."""


class Lease:
    """One Lease, and whether this process holds it.

    Times of other holders are never compared with the local clock: a holder is taken for dead when its lease has not
    changed for its whole duration as measured here.
    """

    def __init__(self, api: Api, *, namespace: str, name: str, identity: str, duration_s: float) -> None:
        self._api = api
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{name}"
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._duration_s = duration_s
        self._observed: tuple[str, float] = ("", 0.0)
        self._renewed = 0.0

    async def acquire(self) -> None:
        """Return when this process holds the lease."""
        told = ""
        while True:
            began = time.monotonic()
            try:
                holder = await asyncio.wait_for(self._try(), self._duration_s)
                if not holder:
                    self._renewed = began
                    log.info("holding lease %s/%s as %s", self._namespace, self._name, self._identity)
                    return
                if holder != told:
                    log.info("standing by: lease %s/%s is held by %s", self._namespace, self._name, holder)
                    told = holder
            except (ApiError, UnreachableError, TimeoutError) as error:
                log.warning("lease %s/%s: %s", self._namespace, self._name, error)
            await asyncio.sleep(self._duration_s / 5 * random.uniform(0.8, 1.2))

    async def hold(self) -> None:
        """Renew until cancelled.

        Raises:
            LostError: Not renewed for two thirds of the duration, or taken by another: stop writing at once.
        """
        deadline_s = self._duration_s * 2 / 3
        while True:
            await asyncio.sleep(self._duration_s / 3)
            began = time.monotonic()
            try:
                holder = await asyncio.wait_for(self._try(), max(0.1, self._renewed + deadline_s - began))
            except (ApiError, UnreachableError, TimeoutError) as error:
                log.warning("lease %s/%s could not be renewed: %s", self._namespace, self._name, error)
                if time.monotonic() - self._renewed >= deadline_s:
                    raise LostError(f"lease {self._name} could not be renewed for {deadline_s:.0f} s") from error
                continue
            if holder:
                raise LostError(f"lease {self._name} was taken by {holder}")
            self._renewed = began

    async def release(self) -> None:
        """Give the lease back, so that a standby need not wait for its end."""
        try:
            found = msgspec.json.decode(await self._api.request("GET", self._path))
            if (found.get("spec") or {}).get("holderIdentity") == self._identity:
                found["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _micro_time()}
                await self._api.request("PUT", self._path, msgspec.json.encode(found))
        except (ApiError, UnreachableError) as error:
            log.info("lease %s was not released, it ends by itself: %s", self._name, error)

    async def _try(self) -> str:
        """Take or renew the lease; return who holds it instead, empty on success."""
        try:
            found = msgspec.json.decode(await self._api.request("GET", self._path))
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
            return await self._create()
        spec: dict[str, Any] = found.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self._identity) and not self._expired(found, spec):
            return str(holder)
        taken_over = holder != self._identity
        found["spec"] = self._spec(
            acquired=_micro_time() if taken_over else spec.get("acquireTime") or _micro_time(),
            transitions=int(spec.get("leaseTransitions") or 0) + int(taken_over),
        )
        try:
            await self._api.request("PUT", self._path, msgspec.json.encode(found))
        except ApiError as error:
            if error.code == CONFLICT:
                return "another operator that was faster"
            raise
        return ""

    async def _create(self) -> str:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec(acquired=_micro_time(), transitions=0),
        }
        try:
            await self._api.request("POST", self._collection, msgspec.json.encode(body))
        except ApiError as error:
            if error.code == CONFLICT:
                return "another operator that was faster"
            raise
        return ""

    def _expired(self, found: dict[str, Any], spec: dict[str, Any]) -> bool:
        version, now = found["metadata"]["resourceVersion"], time.monotonic()
        if version != self._observed[0]:
            self._observed = (version, now)
            return False
        return now - self._observed[1] > float(spec.get("leaseDurationSeconds") or self._duration_s)

    def _spec(self, *, acquired: str, transitions: int) -> dict[str, Any]:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": math.ceil(self._duration_s),
            "acquireTime": acquired,
            "renewTime": _micro_time(),
            "leaseTransitions": transitions,
        }


def _micro_time() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
