from __future__ import annotations

from paceline.client.logtail import Wanted, chosen, readable, running, silent, unstamp, wanted
from tests.support.cli_objects import Object, pod

RUNS: Object = {"running": {}}
ENDED: Object = {"terminated": {"exitCode": 1}}
WAITS: Object = {"waiting": {"reason": "ImagePullBackOff"}}


def names(pods: list[Object]) -> list[str]:
    return [found["metadata"]["name"] for found in pods]


def test_rank_0_is_read_where_nothing_is_wished_for() -> None:
    assert wanted(rank=None, every=False, attempt=None, per_pod=2) == Wanted(frozenset({0}))


def test_a_rank_is_in_the_pod_that_holds_it() -> None:
    assert wanted(rank=5, every=False, attempt=1, per_pod=2) == Wanted(frozenset({2}), 1)


def test_the_newest_attempt_is_read() -> None:
    pods = [pod(0, 0), pod(0, 1), pod(1, 0), pod(1, 1)]
    assert names(chosen(pods, Wanted(None))) == ["digits-1-0", "digits-1-1"]
    assert names(chosen(pods, Wanted(frozenset({1}), 0))) == ["digits-0-1"]


def test_a_pod_is_read_once_its_worker_has_started_and_only_once() -> None:
    pods = [pod(0, 0, state=RUNS), pod(0, 1, state=ENDED), pod(0, 2, state=WAITS), pod(0, 3)]
    assert readable(pods) == ["digits-0-0", "digits-0-1"]
    assert readable(pods, {"digits-0-0"}) == ["digits-0-1"]


def test_a_pod_that_has_not_started_says_why() -> None:
    assert silent([pod(0, 0, state=RUNS), pod(0, 2, state=WAITS)]) == ["digits-0-2 has not started: ImagePullBackOff"]


def test_only_a_running_worker_may_still_write() -> None:
    assert running(pod(state=RUNS))
    assert not running(pod(state=ENDED))
    assert not running(None)


def test_the_stamp_is_taken_off_and_the_rest_is_as_it_was() -> None:
    assert unstamp(b"2026-01-02T03:04:05.5Z  two  spaces") == ("2026-01-02T03:04:05.5Z", b" two  spaces")
    assert unstamp(b"no stamp") == ("", b"no stamp")
