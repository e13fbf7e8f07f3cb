"""In which order looks write: what somebody waits for goes before what merely has to go, and reads before repeats."""

from __future__ import annotations

from contextlib import suppress

import pytest

from paceline_operator.cluster.client import ApiError, UnreachableError
from tests.support.trainjobs import make_trainjob
from tests.unit.operator_cluster.test_podgroups import JOB, PODS, SERVICES, Operator, Server, fail

WORKERS = 40


async def _restarting(server: Server) -> Operator:
    operator = Operator(server)
    await operator.look()
    fail(server, "digits-0-7")
    del server.writes[:]
    return operator


def _job() -> Server:
    return Server(make_trainjob().workers(WORKERS).max_restarts(-1).scheduling(gang="None"))


async def test_all_pods_of_the_next_attempt_are_made_before_the_first_old_one_is_deleted() -> None:
    server = _job()
    await (await _restarting(server)).look()
    kinds = [write.split()[0] for write in server.writes if PODS in write]
    assert kinds == ["POST"] * WORKERS + ["DELETE"] * (WORKERS - 1)


async def test_a_restart_is_the_record_then_group_and_pods_then_the_service_and_what_goes() -> None:
    server = Server(make_trainjob().workers(3).max_restarts(-1))
    operator = Operator(server)
    await operator.groups.look()
    await operator.look()
    fail(server, "digits-0-1")
    del server.objects[f"{SERVICES}/digits"]
    del server.writes[:]
    await operator.look()
    told = [f"{write.split()[0]} {write.split('/')[-1]}" for write in server.writes]
    assert told[:5] == ["PATCH status", "POST podgroups", *["POST pods"] * 3]
    assert sorted(told[5:]) == ["DELETE digits-0", "DELETE digits-0-0", "DELETE digits-0-2", "POST services"]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ApiError(403, "Forbidden", "exceeded quota"), id="a quota is spent"),
        pytest.param(ApiError(500, "InternalError", "etcdserver: leader changed"), id="the server failed"),
        pytest.param(UnreachableError("no answer"), id="no answer"),
    ],
)
async def test_the_old_pods_go_though_the_new_ones_cannot_be_made(error: ApiError | UnreachableError) -> None:
    server = _job()
    operator = await _restarting(server)
    server.refuse["POST", PODS] = error  # type: ignore[assignment]
    with suppress(ApiError, UnreachableError):
        await operator.look()
    # The failed one stays, for its logs.
    assert server.names(PODS) == ["digits-0-7"]


async def _waiting_for_quota(server: Server) -> Operator:
    operator = Operator(server)
    server.refuse["POST", PODS] = ApiError(403, "Forbidden", "exceeded quota")
    await operator.look()
    del server.refuse["POST", PODS], server.gets[:]
    return operator


async def test_before_refused_pods_are_asked_for_again_the_job_is_read() -> None:
    server = _job()
    operator = await _waiting_for_quota(server)
    await operator.look()
    assert server.gets == [JOB]
    assert len(server.names(PODS)) == WORKERS


async def test_no_pods_are_made_again_for_a_job_whose_deletion_nobody_told() -> None:
    server = _job()
    operator = await _waiting_for_quota(server)
    del server.objects[JOB]
    await operator.look()
    assert server.names(PODS) == []
    assert list(operator.reconciler.remembered()) == []


async def test_a_job_whose_pods_are_asked_for_once_is_not_read() -> None:
    server = _job()
    await (await _restarting(server)).look()
    assert server.gets == []
