from __future__ import annotations

import json
from typing import Any

import pytest

from paceline_operator.cluster import mergepatch
from paceline_operator.cluster import pods as wire
from paceline_operator.cluster.informer import PodStore
from paceline_operator.cluster.memory import BEHIND, Jobs
from paceline_operator.policies.observed import PodSeen
from tests.support.pods import T0
from tests.support.trainjobs import make_trainjob


def body(index: int = 0, version: int = 1, namespace: str = "ml", **status: Any) -> wire.Pod:
    labels = {"paceline.dev/job": "digits", "paceline.dev/attempt": "0", "paceline.dev/index": str(index)}
    owner = {"uid": "job-uid", "controller": True, "kind": "TrainJob"}
    metadata = {
        "name": f"digits-0-{index}",
        "namespace": namespace,
        "uid": f"{namespace}-{index}",
        "resourceVersion": str(version),
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "labels": labels,
        "ownerReferences": [owner],
    }
    return wire.decode_pod(json.dumps({"metadata": metadata, "spec": {"nodeName": "n1"}, "status": status}))


def seen(pod: wire.Pod) -> PodSeen:
    found = wire.seen(pod)
    assert found is not None
    return found


def container(name: str = "worker", **state: Any) -> dict[str, Any]:
    return {"name": name, "ready": False, "state": state}


X = {"reason": "X"}
ERROR = {"exitCode": 1, "reason": "Error"}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({"phase": "Pending"}, {"phase": "Pending", "running": False, "exit_code": None}, id="pending"),
        pytest.param({"phase": "Running"}, {"running": True}, id="without container statuses"),
        pytest.param(
            {"phase": "Failed", "reason": "Evicted", "containerStatuses": [container(running={})]},
            {"running": False, "phase": "Failed"},
            id="evicted, and its containers are not told of yet",
        ),
        pytest.param(
            {
                "phase": "Running",
                "containerStatuses": [container("side", running={}), container(waiting={"reason": "X"})],
            },
            {"running": False, "waiting_reason": "X"},
            id="a sidecar says nothing of the worker",
        ),
        pytest.param(
            {"phase": "Running", "containerStatuses": [container(terminated={"exitCode": 3, "message": "m"})]},
            {"exit_code": 3, "exit_message": "m", "running": False},
            id="the worker ended",
        ),
        pytest.param(
            {
                "phase": "Failed",
                "initContainerStatuses": [container("i", terminated={"exitCode": 1, "reason": "Error"})],
            },
            {"exit_code": 1, "exit_message": "init container i: Error"},
            id="an init container failed",
        ),
        pytest.param(
            {
                "phase": "Failed",
                "containerStatuses": [
                    {
                        **container(waiting={"reason": "ContainerCreating"}),
                        "lastState": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}},
                    }
                ],
            },
            {"exit_code": 137, "exit_reason": "ContainerStatusUnknown", "finished": None, "running": False},
            id="the kubelet no longer finds the container",
        ),
        pytest.param(
            {"phase": "Failed", "initContainerStatuses": [container("i", terminated={"exitCode": 0})]},
            {"exit_code": None},
            id="failed without a word",
        ),
        pytest.param(
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"},
                    {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"},
                ]
            },
            {"unschedulable": "no GPU", "disruption": "EvictionByEvictionAPI"},
            id="conditions",
        ),
    ],
)
def test_what_matters_of_a_pod(status: dict[str, Any], expected: dict[str, Any]) -> None:
    found = seen(body(**status))
    assert {name: getattr(found, name) for name in expected} == expected


def test_a_pod_of_somebody_else_is_not_ours() -> None:
    stranger = body()
    stranger.metadata.labels = {"paceline.dev/job": "digits"}
    assert wire.seen(stranger) is None


def store() -> tuple[PodStore, list[str]]:
    changed: list[str] = []
    return PodStore(lambda key, owner: changed.append(key)), changed


def test_older_news_changes_nothing() -> None:
    pods, changed = store()
    pods.put(body(version=5, phase="Running"))
    pods.put(body(version=4, phase="Pending"))
    assert [pod.phase for pod in pods.of("job-uid").values()] == ["Running"]
    assert changed == ["ml/digits"]


def test_what_is_not_in_a_list_is_gone_but_only_in_its_namespace() -> None:
    pods, changed = store()
    pods.put(body(0, 1), "ml")
    pods.put(body(0, 2, namespace="other"), "other")
    pods.replace([body(1, 3)], "9", "ml")
    assert set(pods.of("job-uid")) == {"ml-1", "other-0"}
    assert (pods.version("ml"), pods.version("other")) == (9, 2)
    assert changed.count("ml/digits") == 3
    assert len(pods) == 2
    pods.bookmark("12", "other")
    assert pods.version("other") == 12
    pods.remove("ml-1", "13", "ml")
    pods.remove("never seen")
    assert set(pods.of("job-uid")) == {"other-0"}


def test_created_pods_count_until_the_watch_has_caught_up() -> None:
    pods, _ = store()
    jobs = Jobs(pods)
    job = make_trainjob().uid("job-uid").obj().to_body()
    job["metadata"] |= {"uid": "job-uid", "resourceVersion": "1"}
    known = jobs.put(job, T0)
    made = seen(body(0, 7))
    known.created[made.uid] = made
    assert jobs.observe(known, T0).complete
    pods.bookmark("6")
    assert len(jobs.observe(known, T0).pods) == 1
    pods.bookmark("7")
    assert jobs.observe(known, T0).pods == ()
    assert jobs.observe(known, T0).complete, "it was complete once: what is missing now is lost"


def test_a_list_without_what_was_made_since_the_last_one_is_a_reason_for_a_look() -> None:
    pods, _ = store()
    again: list[str] = []
    jobs = Jobs(pods, again=again.append)
    job = make_trainjob().uid("job-uid").obj().to_body()
    job["metadata"] |= {"uid": "job-uid", "resourceVersion": "1"}
    known = jobs.put(job, T0)
    pods.replace([], "6")
    assert again == []
    made = seen(body(0, 7))
    known.created[made.uid] = made
    pods.replace([], "9")
    assert again == ["ml/digits"]
    assert jobs.observe(known, T0).pods == ()
    pods.replace([], "10")
    assert again == ["ml/digits"]


def test_accepted_deletions_are_not_asked_for_again() -> None:
    pods, _ = store()
    jobs = Jobs(pods)
    job = make_trainjob().obj().to_body()
    job["metadata"] |= {"uid": "job-uid", "resourceVersion": "1"}
    known = jobs.put(job, T0)
    pods.put(body(0, 3))
    known.deleting.add("ml-0")
    assert [pod.deleting for pod in jobs.observe(known, T0).pods] == [True]
    pods.remove("ml-0")
    jobs.observe(known, T0)
    assert known.deleting == set()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        pytest.param({"phase": "Running"}, [], id="nothing to tell"),
        pytest.param({"phase": "Succeeded"}, ["Succeeded"], id="ended well"),
        pytest.param({"phase": "Failed"}, ["Failed"], id="failed"),
        pytest.param(
            {
                "phase": "Running",
                "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}],
            },
            ["Running"],
            id="taken with its node",
        ),
    ],
)
def test_what_a_pod_told_last_stays_when_it_goes(status: dict[str, Any], words: list[str]) -> None:
    pods, _ = store()
    jobs = Jobs(pods)
    job = make_trainjob().obj().to_body()
    job["metadata"] |= {"uid": "job-uid", "resourceVersion": "1"}
    known = jobs.put(job, T0)
    pods.put(body(0, 3, **status))
    pods.remove("ml-0")
    found = jobs.observe(known, T0).pods
    assert [pod.phase for pod in found] == words
    assert all(pod.deleting for pod in found)


def test_the_last_word_of_the_lead_is_kept_for_one_attempt_more() -> None:
    pods, _ = store()
    jobs = Jobs(pods)
    job = make_trainjob().workers(2).status(phase="Running", attempt=1).obj().to_body()
    job["metadata"] |= {"uid": "job-uid", "resourceVersion": "1"}
    known = jobs.put(job, T0)
    for index in (0, 1):
        pods.put(body(index, 3 + index, phase="Failed"))
        pods.remove(f"ml-{index}")
    assert [(pod.index, pod.attempt) for pod in jobs.observe(known, T0).pods] == [(0, 0)]
    job["metadata"] |= {"resourceVersion": "9"}
    job["status"] |= {"attempt": 2}
    jobs.put(job, T0)
    assert jobs.observe(known, T0).pods == ()


def test_pods_shown_from_before_the_status_are_behind_it_for_a_time() -> None:
    pods, _ = store()
    jobs = Jobs(pods)
    job = make_trainjob().status(phase="Running").obj().to_body()
    job["metadata"] |= {"uid": "job-uid", "resourceVersion": "5"}
    known = jobs.put(job, T0)
    pods.bookmark("4")
    assert jobs.observe(known, T0).behind
    assert not jobs.observe(known, T0 + BEHIND).behind, "where versions of two kinds mean nothing to each other"
    job["metadata"] |= {"resourceVersion": "9"}
    jobs.put(job, T0)
    pods.bookmark("5")
    assert not jobs.observe(known, T0).behind, "what the status said first is what counts"
    job["metadata"] |= {"resourceVersion": "10"}
    job["status"] |= {"attempt": 1}
    jobs.put(job, T0)
    assert jobs.observe(known, T0).behind
    job["metadata"] |= {"resourceVersion": "11"}
    job["status"] |= {"phase": "Restarting"}
    jobs.put(job, T0)
    assert not jobs.observe(known, T0).behind


def test_what_the_record_proves_of_a_pod_that_is_gone_stays_proven() -> None:
    pods, _ = store()
    jobs = Jobs(pods)
    job = make_trainjob().workers(3).status(phase="Running", workers={"desired": 3, "succeeded": 1}).obj().to_body()
    job["metadata"] |= {"uid": "job-uid", "resourceVersion": "1"}
    known = jobs.put(job, T0)
    pods.put(body(0, 3, phase="Running"))
    pods.put(body(1, 4, phase="Running"))
    for now_succeeded in (False, True):
        if now_succeeded:
            pods.put(body(1, 5, phase="Succeeded"))
        found = {pod.index: pod.succeeded for pod in jobs.observe(known, T0).pods}
        assert found == {0: False, 1: now_succeeded, 2: True}


def test_a_job_made_anew_is_another_and_old_news_is_not_taken() -> None:
    jobs = Jobs(store()[0])
    job = make_trainjob().obj().to_body()
    job["metadata"] |= {"uid": "a", "resourceVersion": "5"}
    first = jobs.put(job, T0)
    first.service_made = "service"
    stale = json.loads(json.dumps(job))
    stale["metadata"]["resourceVersion"] = "4"
    stale["spec"]["suspend"] = True
    assert not jobs.put(stale, T0).job.spec.suspend
    anew = json.loads(json.dumps(job))
    anew["metadata"] |= {"uid": "b", "resourceVersion": "9"}
    assert not jobs.put(anew, T0).service_made
    jobs.forget("ml/digits", "a")
    assert len(jobs) == 1
    jobs.forget("ml/digits", "b")
    assert jobs.get("ml/digits") is None
    assert jobs.phases() == {}


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a": {"c": 3}}),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 2]}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_a_merge_patch_holds_what_differs(old: dict[str, Any], new: dict[str, Any], patch: dict[str, Any]) -> None:
    assert mergepatch.diff(old, new) == patch
