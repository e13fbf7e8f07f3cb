"""The watch tells an operator of its own writes: that alone is no reason to look at a job once more."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any

from paceline_operator.cluster.client import ApiError
from tests.support.trainjobs import make_trainjob
from tests.unit.operator_cluster.test_podgroups import JOB, PODS, Operator, Server, fail


async def _restarted() -> tuple[Server, Operator]:
    """Return an operator that has just written that a restart begins."""
    server = Server(make_trainjob().workers(2).max_restarts(-1).scheduling(gang="None"))
    operator = Operator(server)
    await operator.look()
    fail(server, "digits-0-1")
    await operator.look()
    return server, operator


def _body(server: Server, **metadata: Any) -> dict[str, Any]:
    found = deepcopy(server.objects[JOB])
    found["metadata"] |= metadata
    return found


async def test_the_event_of_its_last_write_is_an_echo_and_every_other_one_is_none() -> None:
    server, operator = await _restarted()
    is_echo = operator.reconciler.is_echo
    version = int(server.objects[JOB]["metadata"]["resourceVersion"])
    assert is_echo("MODIFIED", _body(server))
    others = {
        "a list tells it": (None, _body(server)),
        "a watch that begins tells it": ("ADDED", _body(server)),
        "somebody has changed it since": ("MODIFIED", _body(server, resourceVersion=str(version + 1))),
        "what was before": ("MODIFIED", _body(server, resourceVersion=str(version - 1))),
        "another job of that name": ("MODIFIED", _body(server, uid="another")),
        "a job that is not known": ("MODIFIED", _body(server, name="another")),
        "an object without metadata": ("MODIFIED", {}),
    }
    assert {what: is_echo(*told) for what, told in others.items()} == dict.fromkeys(others, False)


async def test_the_event_of_a_write_of_another_operator_is_no_echo() -> None:
    server, _ = await _restarted()
    other = Operator(server)
    await other.look()
    assert not other.reconciler.is_echo("MODIFIED", _body(server))


class Quota(Server):
    """There may be one pod."""

    async def request(self, method: str, path: str, *given: Any, **options: Any) -> bytes:
        if (method, path) == ("POST", PODS) and self.names(PODS):
            raise ApiError(403, "Forbidden", "exceeded quota: pods=1")
        return await super().request(method, path, *given, **options)


async def test_a_write_is_followed_by_a_look_though_pods_are_refused_as_they_were_before() -> None:
    """Nothing else brings that look: the echo of the write did."""
    server = Quota(make_trainjob().workers(2).max_restarts(-1).scheduling(gang="None"))
    operator = Operator(server)
    await operator.look()
    assert server.names(PODS) == ["digits-0-0"]
    fail(server, "digits-0-0")
    operator.show()
    again = await operator.reconciler.reconcile("ml/digits")
    assert server.status()["attempt"] == 1
    assert again == timedelta(0)
    await operator.look()
    assert await operator.reconciler.reconcile("ml/digits") == timedelta(seconds=5)
