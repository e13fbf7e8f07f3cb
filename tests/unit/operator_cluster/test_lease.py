from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from paceline_operator.cluster.client import ApiError, UnreachableError
from paceline_operator.cluster.lease import Lease, LostError
from tests.support.timeouts import LOCAL_S


class LeaseServer:
    """One Lease with versions and conflicts."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.down = False

    async def request(self, method: str, path: str, body: bytes | None = None, **_: Any) -> bytes:
        await asyncio.sleep(0)
        if self.down:
            raise UnreachableError(path)
        if method == "GET":
            if self.lease is None:
                raise ApiError(404, "NotFound", "no lease")
            return json.dumps(self.lease).encode()
        sent = json.loads(body or b"")
        if method == "POST" and self.lease is not None:
            raise ApiError(409, "AlreadyExists", "there")
        if method == "PUT" and sent["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError(409, "Conflict", "changed")
        self.version += 1
        sent["metadata"]["resourceVersion"] = str(self.version)
        self.lease = sent
        return body or b""

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])


def lease(server: LeaseServer, identity: str, duration_s: float = 0.3) -> Lease:
    return Lease(server, namespace="n", name="l", identity=identity, duration_s=duration_s)


async def test_the_first_holds_and_the_second_waits_until_it_is_released() -> None:
    server = LeaseServer()
    first, second = lease(server, "first"), lease(server, "second", 30)
    await asyncio.wait_for(first.acquire(), LOCAL_S)
    assert await second._try() == "first"
    assert server.holder == "first"
    await first.release()
    assert await second._try() == ""
    assert server.holder == "second"
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 1


async def test_a_dead_holder_is_replaced_after_its_duration() -> None:
    server = LeaseServer()
    await lease(server, "dead", 1).acquire()
    await asyncio.wait_for(lease(server, "heir").acquire(), LOCAL_S)
    assert server.holder == "heir"


async def test_a_container_that_starts_again_has_the_lease_of_the_process_that_died() -> None:
    server = LeaseServer()
    await lease(server, "pod_1", 30).acquire()
    assert await lease(server, "pod_1", 30)._try() == ""
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 0
    assert await lease(server, "other-pod_1", 30)._try() == "pod_1"


async def test_a_holder_that_cannot_renew_stops() -> None:
    server = LeaseServer()
    holder = lease(server, "holder")
    await holder.acquire()
    server.down = True
    with pytest.raises(LostError, match="could not be renewed"):
        await asyncio.wait_for(holder.hold(), LOCAL_S)


async def test_a_holder_that_was_replaced_stops() -> None:
    server = LeaseServer()
    holder = lease(server, "holder")
    await holder.acquire()
    assert server.lease is not None
    server.lease["spec"]["holderIdentity"] = "thief"
    with pytest.raises(LostError, match="taken by thief"):
        await asyncio.wait_for(holder.hold(), LOCAL_S)
