from __future__ import annotations

from datetime import timedelta

import pytest

from paceline_operator.policies import problems
from paceline_operator.policies.observed import Refusal
from tests.support.pods import T0, PodBuilder, all_running, pod

WAITS = "pod group is unschedulable, waiting for minCount pods from a gang to be scheduled"
SECRET = 'Error: secret "wandb" not found'
MOUNT = 'FailedMount: MountVolume.SetUp failed for volume "c" : secret "databricks" not found'


@pytest.mark.parametrize(
    ("builder", "warning", "condition", "reason", "says"),
    [
        pytest.param(
            pod(0).unschedulable("0/3 nodes: Insufficient nvidia.com/gpu"),
            "",
            "Scheduled",
            "Unschedulable",
            "ask for less",
            id="no GPU",
        ),
        pytest.param(
            pod(0).unschedulable('persistentvolumeclaim "data" not found'),
            "",
            "Scheduled",
            "MissingVolume",
            "create the claim",
            id="no claim",
        ),
        pytest.param(
            pod(0).waiting("ErrImagePull", "not found"),
            "",
            "Running",
            "ImagePullFailed",
            "imagePullSecrets",
            id="no image",
        ),
        pytest.param(
            pod(0).waiting("CreateContainerConfigError", SECRET),
            "",
            "Running",
            "MissingSecret",
            "create the Secret",
            id="no secret",
        ),
        pytest.param(
            pod(0).waiting("CreateContainerConfigError", "couldn't find key A in Secret ml/wandb"),
            "",
            "Running",
            "MissingSecret",
            "create the Secret",
            id="no key",
        ),
        pytest.param(
            pod(0).waiting("CreateContainerConfigError", 'configmap "c" not found'),
            "",
            "Running",
            "MissingConfigMap",
            "create the ConfigMap",
            id="no config map",
        ),
        pytest.param(
            pod(0).waiting("CreateContainerError", "no space"),
            "",
            "Running",
            "WaitingForWorkers",
            "kubectl describe pod",
            id="something else",
        ),
        pytest.param(
            pod(0).waiting("CreateContainerError", "executable not found"),
            "",
            "Running",
            "WaitingForWorkers",
            "kubectl describe pod",
            id="something else is not found",
        ),
        pytest.param(
            pod(0).waiting("ContainerCreating"),
            MOUNT,
            "Running",
            "MissingSecret",
            "create the Secret",
            id="a mount waits for a secret",
        ),
        pytest.param(
            pod(0).on("n1"),
            'FailedMount: persistentvolumeclaim "x" not found',
            "Running",
            "MissingVolume",
            "create the claim",
            id="a mount waits for a claim",
        ),
        pytest.param(
            pod(0).on("n1"),
            "FailedAttachVolume: timed out",
            "Running",
            "MissingVolume",
            "tries again",
            id="an attachment fails",
        ),
        pytest.param(
            pod(0).on("n1"),
            "FailedCreatePodSandBox: no network",
            "Running",
            "WaitingForWorkers",
            "no network",
            id="no sandbox",
        ),
    ],
)
def test_what_is_in_the_way_is_told_with_a_way_out(
    builder: PodBuilder, warning: str, condition: str, reason: str, says: str
) -> None:
    found = problems.decide([builder.obj()], (), {"digits-0-0": warning})
    assert found is not None
    assert (found.condition, found.reason, found.final) == (condition, reason, False)
    assert says in found.message


def test_an_image_name_that_can_never_be_is_final() -> None:
    found = problems.decide([pod(0).waiting("InvalidImageName", "cannot parse").obj()], (), {})
    assert found is not None
    assert found.final


@pytest.mark.parametrize(
    ("refusal", "reason", "final"),
    [
        pytest.param(Refusal("digits-0-0", 409, "NameTaken", "taken"), "NameTaken", False, id="name"),
        pytest.param(Refusal("digits-0-0", 422, "Invalid", "bad"), "InvalidSpec", True, id="invalid"),
        pytest.param(Refusal("digits-0-0", 403, "Forbidden", "exceeded quota: q"), "QuotaExceeded", False, id="quota"),
        pytest.param(Refusal("digits-0-0", 403, "Forbidden", "PodSecurity"), "PodRefused", False, id="admission"),
    ],
)
def test_refusals(refusal: Refusal, reason: str, final: bool) -> None:
    found = problems.decide([], (refusal,), {})
    assert found is not None
    assert (found.reason, found.final) == (reason, final)


def test_pods_on_their_way_are_no_problem() -> None:
    pods = [*all_running(2), pod(2), pod(3).on("n1"), pod(4).waiting("PodInitializing"), pod(5).succeeded()]
    assert problems.decide([builder.obj() for builder in pods], (), {}) is None


@pytest.mark.parametrize(
    ("builder", "mounts", "looked_s", "after_s", "inspected", "again_s"),
    [
        pytest.param(pod(0).on("n1"), False, None, 9, False, 1, id="patience"),
        pytest.param(pod(0).on("n1"), False, None, 10, True, 15, id="hangs"),
        pytest.param(pod(0).on("n1"), False, 10, 20, False, 5, id="asked a moment ago"),
        pytest.param(pod(0).on("n1"), False, 10, 25, True, 15, id="asked long ago"),
        pytest.param(pod(0).on("n1"), True, None, 1, False, 1, id="patience with a mount"),
        pytest.param(pod(0).on("n1"), True, None, 2, True, 4, id="a Secret may be missing"),
        pytest.param(pod(0).on("n1"), True, 2, 4, False, 2, id="a mount, asked a moment ago"),
        pytest.param(pod(0).on("n1"), True, 2, 6, True, 4, id="a mount, asked before"),
        pytest.param(pod(0).on("n1"), True, 10, 14, True, 4, id="a mount on a busy node"),
        pytest.param(pod(0).on("n1"), True, 59, 64, False, 10, id="a mount that hangs for long"),
        pytest.param(pod(0), False, None, 10, False, None, id="no node"),
        pytest.param(pod(0).running(), False, None, 10, False, None, id="runs"),
        pytest.param(pod(0).waiting("ErrImagePull"), False, None, 10, False, None, id="says why itself"),
    ],
)
def test_only_a_pod_that_hangs_without_a_word_is_inspected(
    builder: PodBuilder, mounts: bool, looked_s: int | None, after_s: int, inspected: bool, again_s: int | None
) -> None:
    looked = None if looked_s is None else T0 + timedelta(seconds=looked_s)
    found = problems.to_inspect([builder.obj()], T0 + timedelta(seconds=after_s), mounts=mounts, looked=looked)
    again = None if again_s is None else timedelta(seconds=again_s)
    assert found == (("digits-0-0",) if inspected else (), again)


def test_a_group_speaks_for_pods_that_only_wait_for_each_other() -> None:
    pods = [pod(index).unschedulable(WAITS).with_(group="digits-0").obj() for index in range(2)]
    assert problems.decide(pods, (), {}) is None
    found = problems.decide(pods, (), {"digits-0": "0/2 placements are available"})
    assert found is not None
    assert (found.reason, "digits-0-0 finds no node: 0/2 placements" in found.message) == ("Unschedulable", True)


@pytest.mark.parametrize(
    ("pods", "seconds", "group"),
    [
        pytest.param([pod(0), pod(1)], 10, "digits-0", id="silent pods"),
        pytest.param([pod(0).unschedulable(WAITS), pod(1)], 10, "digits-0", id="they wait for each other"),
        pytest.param([pod(0), pod(1)], 9, "", id="patience"),
        pytest.param([pod(0), pod(1).unschedulable("0/2 nodes")], 10, "", id="a pod tells"),
        pytest.param([pod(0), pod(1).on("n1")], 10, "", id="one has a node"),
        pytest.param([], 10, "", id="no pods"),
    ],
)
def test_a_group_is_read_only_where_its_pods_say_nothing(pods: list[PodBuilder], seconds: int, group: str) -> None:
    grouped = [builder.with_(group="digits-0").obj() for builder in pods]
    assert problems.group_to_inspect(grouped, T0 + timedelta(seconds=seconds)) == group
