from __future__ import annotations

from dataclasses import replace

import pytest

from paceline.api import Condition
from paceline_operator.policies import credentials
from paceline_operator.policies.credentials import Found, Lacks, Missing
from paceline_operator.policies.observed import AgentReport, TrackingProblem
from paceline_operator.policies.problems import Problem
from tests.support.pods import T0
from tests.support.trainjobs import TrainJobBuilder, make_trainjob

ABSENT = 'CreateContainerConfigError: secret "wandb" not found'
NO_KEY = "CreateContainerConfigError: couldn't find key WANDB_API_KEY in Secret ml/wandb"
NO_MOUNT = 'FailedMount: MountVolume.SetUp failed for volume "paceline-credential-0" : secret "wandb" not found'
NO_FILE = 'FailedMount: MountVolume.SetUp failed for volume "{}" : references non-existent secret key: key.json'


def waits(said: str, pod: str = "digits-0-0") -> Problem:
    return Problem("Running", "MissingSecret", f"pod {pod} waits: {said}", pod=pod, said=said)


@pytest.mark.parametrize(
    ("job", "said", "default", "missing"),
    [
        pytest.param(make_trainjob(), ABSENT, None, Missing("wandb"), id="a variable"),
        pytest.param(make_trainjob(), NO_KEY, None, Missing("wandb", "WANDB_API_KEY"), id="a key"),
        pytest.param(make_trainjob(), NO_MOUNT, None, Missing("wandb"), id="a file"),
        pytest.param(
            make_trainjob().storage("gs://b", secret="gcs"), NO_FILE.format("paceline-storage-key"), None,
            Missing("gcs", "key.json"), id="a key of the storage's Secret",
        ),
        pytest.param(
            make_trainjob(), NO_FILE.format("paceline-storage-key"), "team-gcs", Missing("team-gcs", "key.json"),
            id="a key of the default storage's Secret",
        ),
        pytest.param(
            make_trainjob().pod_template({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "v", "secret": {
                "secretName": "own"}}]}),
            NO_FILE.format("v"), None, Missing("own", "key.json"), id="a volume of the template",
        ),
        pytest.param(make_trainjob(), NO_FILE.format("v"), None, None, id="a volume that nobody knows"),
        pytest.param(
            make_trainjob().pod_template({"volumes": [{"name": "v", "secret": {}}]}), NO_FILE.format("v"), None, None,
            id="a volume without a Secret",
        ),
        pytest.param(make_trainjob(), "secret store is down: not found", None, None, id="other words"),
    ],
)  # fmt: skip
def test_what_is_missing_stands_in_the_words_of_the_kubelet(
    job: TrainJobBuilder, said: str, default: str | None, missing: Missing | None
) -> None:
    assert credentials.what(said, job.obj().spec, default) == missing


WANDB = Missing("wandb")
KEY = Missing("wandb", "K")


@pytest.mark.parametrize(
    ("job", "missing", "fields"),
    [
        pytest.param(
            make_trainjob().credential("s").credential("wandb"), WANDB, ["spec.credentials[1]"], id="credentials"
        ),
        pytest.param(
            make_trainjob().credential("wandb", mount_path="/etc/w"), WANDB,
            ["spec.credentials[0] (mounted at /etc/w)"], id="credentials at a path",
        ),
        pytest.param(make_trainjob().credential("wandb", optional=True), WANDB, [], id="optional credentials"),
        pytest.param(make_trainjob().credential("wandb"), KEY, [], id="who takes all keys lacks none"),
        pytest.param(
            make_trainjob().env(A="1").env_from_secret("WANDB_API_KEY", "wandb", "K"), KEY,
            ["spec.env WANDB_API_KEY"], id="a key in env",
        ),
        pytest.param(
            make_trainjob().env_from_secret("WANDB_API_KEY", "wandb", "L"), KEY, [], id="another key in env"
        ),
        pytest.param(
            make_trainjob().env_from_secret("WANDB_API_KEY", "wandb", "L").credential("wandb"), WANDB,
            ["spec.credentials[0]", "spec.env WANDB_API_KEY"], id="several",
        ),
        pytest.param(
            make_trainjob().set(envFrom=[{"configMapRef": {"name": "wandb"}}, {"secretRef": {"name": "wandb"}},
                                         {"secretRef": {"name": "wandb", "optional": True}}]),
            WANDB, ["spec.envFrom[1]"], id="envFrom",
        ),
        pytest.param(
            make_trainjob().storage("s3://b", secret="wandb"), WANDB, ["spec.storage.secretRef"], id="storage"
        ),
        pytest.param(make_trainjob(), Missing("default"), ["the operator's defaultStorage.secretRef"], id="default"),
        pytest.param(
            make_trainjob().pod_template({"volumes": [{"name": "v", "secret": {"secretName": "wandb"}}]}), WANDB,
            ["spec.podTemplate"], id="a volume of the template",
        ),
        pytest.param(
            make_trainjob().pod_template({"containers": [{"name": "s", "env": [{"name": "A", "valueFrom": {
                "secretKeyRef": {"name": "wandb", "key": "K"}}}]}]}),
            KEY, ["spec.podTemplate"], id="a sidecar of the template",
        ),
        pytest.param(make_trainjob().credential("other"), WANDB, [], id="nothing that is known"),
    ],
)  # fmt: skip
def test_what_needs_it_is_told_as_the_user_wrote_it(job: TrainJobBuilder, missing: Missing, fields: list[str]) -> None:
    assert list(credentials.needed_by(job.obj().spec, missing, "default")) == fields


@pytest.mark.parametrize(
    ("said", "message"),
    [
        pytest.param(
            ABSENT,
            'Secret "wandb" is not in namespace ml, and spec.credentials[0] and spec.env KEY need it; pod digits-0-0 '
            "waits: create the Secret, the job then starts by itself",
            id="a Secret",
        ),
        pytest.param(
            NO_KEY.replace("WANDB_API_KEY", "key"),
            'Secret "wandb" in namespace ml has no key "key", and spec.env KEY needs it; pod digits-0-0 waits: add the '
            "key to the Secret, the job then starts by itself",
            id="a key",
        ),
        pytest.param(
            'secret "who" not found',
            'Secret "who" is not in namespace ml; pod digits-0-0 waits: create the Secret, the job then starts by '
            "itself",
            id="nobody knows for what",
        ),
        pytest.param("secret store down", "pod digits-0-0 waits: secret store down", id="other words stay"),
    ],
)
def test_the_problem_names_secret_key_and_what_needs_it(said: str, message: str) -> None:
    job = make_trainjob().credential("wandb").env_from_secret("KEY", "wandb", "key").obj()
    found = credentials.explained(waits(said), job, None)
    assert found is not None
    assert found.message == message


def test_other_problems_stay_as_they_are() -> None:
    other = Problem("Running", "ImagePullFailed", "no image")
    assert credentials.explained(other, make_trainjob().obj(), None) is other
    assert credentials.explained(None, make_trainjob().obj(), None) is None


def condition(status: str, reason: str, message: str) -> Condition:
    return Condition.model_validate(
        {"type": "MissingCredentials", "status": status, "reason": reason, "message": message, "lastTransitionTime": T0}
    )


FIRST = replace(waits(ABSENT), message='Secret "wandb" is not there; pod digits-0-0 waits: create it')
SECOND = replace(FIRST, message='Secret "wandb" is not there; pod digits-0-1 waits: create it')
OTHER = replace(FIRST, message='Secret "comet" is not there; pod digits-0-0 waits: create it')
ON_RECORD = condition("True", "MissingSecret", FIRST.message)
IMAGE = Problem("Running", "ImagePullFailed", "no image")
UNPLACED = Problem("Scheduled", "Unschedulable", "no node")
REFUSED = TrackingProblem("wandb", "MissingCredentials", "the key is refused")
TOLD = Lacks("MissingCredentials", "wandb: the key is refused")
WARNED = condition("True", "MissingCredentials", TOLD.message)
FOUND = Found("what was missing is there")


def report(problem: TrackingProblem | None = None, state: str = "running") -> AgentReport:
    return AgentReport(outcome=state, tracking_problem=problem)


@pytest.mark.parametrize(
    ("known", "problem", "agent", "running", "news"),
    [
        pytest.param(None, None, None, False, None, id="nothing"),
        pytest.param(None, IMAGE, report(), False, None, id="another problem"),
        pytest.param(None, FIRST, None, False, Lacks("MissingSecret", FIRST.message), id="a Secret"),
        pytest.param(ON_RECORD, SECOND, None, False, None, id="another pod waits for the same"),
        pytest.param(ON_RECORD, OTHER, None, False, Lacks("MissingSecret", OTHER.message), id="another Secret"),
        pytest.param(
            condition("False", "Found", ""), FIRST, None, False, Lacks("MissingSecret", FIRST.message), id="again"
        ),
        pytest.param(ON_RECORD, None, None, False, None, id="not known to be there"),
        pytest.param(ON_RECORD, UNPLACED, None, False, None, id="a pod made anew has no node yet"),
        pytest.param(ON_RECORD, IMAGE, None, False, FOUND, id="the pods wait for something else"),
        pytest.param(ON_RECORD, None, None, True, FOUND, id="all run"),
        pytest.param(condition("False", "Found", ""), None, report(), True, None, id="over already"),
        pytest.param(None, None, report(REFUSED), True, TOLD, id="a tracker's warning"),
        pytest.param(WARNED, None, report(REFUSED), True, None, id="the same warning"),
        pytest.param(WARNED, None, None, True, None, id="no agent answers"),
        pytest.param(WARNED, None, report(state="starting"), True, None, id="the agent has not asked yet"),
        pytest.param(WARNED, None, report(), True, FOUND, id="no warning any more"),
        pytest.param(ON_RECORD, None, report(REFUSED), True, TOLD, id="a warning after a Secret"),
    ],
)
def test_the_condition_changes_when_there_is_news(
    known: Condition | None,
    problem: Problem | None,
    agent: AgentReport | None,
    running: bool,
    news: Lacks | Found | None,
) -> None:
    assert credentials.decide(known, problem, agent, running=running) == news


def test_a_long_message_is_no_news_though_the_status_cuts_it() -> None:
    long = report(replace(REFUSED, message="x" * 5000))
    news = credentials.decide(None, None, long, running=True)
    assert isinstance(news, Lacks)
    assert credentials.decide(condition("True", news.reason, news.message), None, long, running=True) is None


@pytest.mark.parametrize(
    ("job", "mounts"),
    [
        pytest.param(make_trainjob().credential("s"), False, id="variables"),
        pytest.param(make_trainjob().credential("s", mount_path="/etc/s"), True, id="files"),
        pytest.param(make_trainjob().pod_template({"volumes": [{"name": "v", "emptyDir": {}}]}), False, id="volume"),
        pytest.param(
            make_trainjob().pod_template({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}), True,
            id="a Secret of the template",
        ),
    ],
)  # fmt: skip
def test_whether_secrets_are_mounted(job: TrainJobBuilder, mounts: bool) -> None:
    assert credentials.mounts(job.obj().spec) == mounts
