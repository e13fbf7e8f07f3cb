"""What the chart renders to, by helm itself: rights, security contexts, configuration, switches."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from charts import manifests
from e2e.helm import HelmError
from paceline.api.reasons import STRAGGLING
from paceline_operator import settings
from paceline_operator.metrics import Metrics
from tests.support.helm import CHART, NAMESPACE, Manifest, helm, of_kind, parse, render, render_text, the

EVERYTHING: dict[str, Any] = {
    "replicas": 2,
    "commonLabels": {"team": "ml"},
    "image": {"pullSecrets": [{"name": "registry"}], "digest": "sha256:" + "0" * 64},
    "priorityClass": {"create": True},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "extraArgs": ["--log-level", "debug"],
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "infra", "operator": "Exists"}],
    "podAnnotations": {"example.com/a": "b"},
    "podLabels": {"example.com/c": "d"},
    "networkPolicy": {
        "apiServerCIDRs": ["10.0.0.1/32"],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "extraEgress": [{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}],
    },
    "workers": {
        "accelerators": {"A100": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}},
        "storage": {"path": "gs://bucket/experiments", "secretRef": {"name": "gcs-credentials", "key": "sa.json"}},
        "networkPolicy": {
            "enabled": True,
            "namespaces": ["team-a"],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        },
    },
    "monitoring": {
        "serviceMonitor": {"enabled": True, "interval": "30s", "labels": {"release": "prometheus"}},
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True},
    },
}
NAMESPACED: dict[str, Any] = {"watchNamespaces": ["team-a", "team-b"]}
ALL_VALUES = [
    pytest.param({}, id="defaults"),
    pytest.param(EVERYTHING, id="everything"),
    pytest.param(NAMESPACED, id="namespaced"),
    pytest.param({**EVERYTHING, **NAMESPACED}, id="everything, namespaced"),
]


@pytest.mark.parametrize("values", ALL_VALUES)
def test_helm_lint_finds_nothing(values: dict[str, Any]) -> None:
    said = helm("lint", "--strict", CHART, "--values", "-", stdin=yaml.safe_dump(values))
    assert "[WARNING]" not in said
    assert "0 chart(s) failed" in said


@pytest.mark.parametrize("values", ALL_VALUES)
def test_rendering_twice_gives_the_same_bytes_and_no_hook(values: dict[str, Any]) -> None:
    text = render_text(values)
    assert text == render_text(values)
    assert "helm.sh/hook" not in text


def test_an_unknown_value_is_refused_by_name() -> None:
    with pytest.raises(HelmError, match="additional properties 'replicaCount' not allowed"):
        render({"replicaCount": 2})
    with pytest.raises(HelmError, match="'/image': additional properties 'pullpolicy' not allowed"):
        render({"image": {"pullpolicy": "Always"}})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        pytest.param({"replicas": "2"}, "'/replicas': got string, want integer", id="type"),
        pytest.param({"log": {"level": "trace"}}, "'/log/level': value must be one of 'debug', 'info'", id="enum"),
        pytest.param({"watchNamespaces": ["Team A"]}, "'/watchNamespaces/0': 'Team A' does not match", id="pattern"),
        pytest.param({"image": {"digest": "abc"}}, "'/image/digest': 'abc' does not match", id="digest"),
        pytest.param(
            {"workers": {"networkPolicy": {"enabled": True}}},
            "list the namespaces in workers.networkPolicy.namespaces",
            id="a policy for no namespace",
        ),
        pytest.param(
            {"workers": {"storage": {"secretRef": {"name": "s3"}}}},
            "workers.storage.path is empty: set the path",
            id="a Secret for no storage",
        ),
        pytest.param(
            {"workers": {"storage": {"path": "gs://bucket", "secretRef": {"key": "sa.json"}}}},
            "set the Secret that has the key",
            id="a key of no Secret",
        ),
    ],
)
def test_a_bad_value_is_refused_with_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(HelmError, match=re.escape(sentence)):
        render(values)


@pytest.mark.parametrize("values", ALL_VALUES)
def test_no_role_reads_secrets_or_has_a_wildcard(values: dict[str, Any]) -> None:
    for role in [*of_kind(rendered := render(values), "ClusterRole"), *of_kind(rendered, "Role")]:
        for rule in role["rules"]:
            assert "secrets" not in rule["resources"]
            assert not any("*" in entry for entries in rule.values() for entry in entries)


def test_the_operator_has_the_rights_of_the_design_and_no_more() -> None:
    expected = {
        ("paceline.dev", "trainjobs"): {"get", "list", "watch", "delete"},
        ("paceline.dev", "trainjobs/status"): {"get", "patch"},
        ("", "pods"): {"get", "list", "watch", "create", "delete"},
        ("", "services"): {"get", "list", "watch", "create", "delete"},
        ("", "events"): {"create", "patch", "list"},
        ("scheduling.k8s.io", "podgroups"): {"get", "list", "create", "delete"},
        ("apps", "deployments"): {"get", "create"},
    }
    assert rights(named(of_kind(render(), "ClusterRole"), "paceline-operator")) == expected
    assert rights(named(of_kind(render(NAMESPACED), "Role"), "paceline-operator")) == expected


def test_without_tensorboards_there_is_no_right_on_deployments_and_the_operator_knows() -> None:
    rendered = render({"tensorboard": {"enabled": False}})
    assert ("apps", "deployments") not in rights(named(of_kind(rendered, "ClusterRole"), "paceline-operator"))
    assert not configuration(rendered).tensorboard.enabled
    assert configuration(render()).tensorboard.enabled


def test_leases_are_used_in_the_own_namespace_only() -> None:
    for values in ({}, NAMESPACED):
        rendered = render(values)
        with_leases = [
            role
            for role in [*of_kind(rendered, "Role"), *of_kind(rendered, "ClusterRole")]
            if any("leases" in rule["resources"] for rule in role["rules"])
        ]
        assert [(role["kind"], role["metadata"]["namespace"]) for role in with_leases] == [("Role", NAMESPACE)]
        config = configuration(rendered)
        assert with_leases[0]["rules"][1]["resourceNames"] == [config.leader_election.lease_name]
        assert config.leader_election.enabled


def test_a_namespaced_install_has_a_role_in_each_namespace_and_nothing_cluster_wide() -> None:
    rendered = render(NAMESPACED)
    assert of_kind(rendered, "ClusterRole") == of_kind(rendered, "ClusterRoleBinding") == []
    for kind in ("Role", "RoleBinding"):
        where = [found["metadata"]["namespace"] for found in of_kind(rendered, kind)]
        assert sorted(where) == sorted([NAMESPACE, "team-a", "team-b"])
    for binding in of_kind(rendered, "RoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "paceline-operator", "namespace": NAMESPACE}]
    assert configuration(rendered).namespaces == ("team-a", "team-b")


def test_without_crds_a_namespaced_install_needs_no_cluster_wide_right_at_all() -> None:
    cluster_scoped = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "PriorityClass", "Namespace"}
    assert not cluster_scoped & {found["kind"] for found in render({**NAMESPACED, "crds": {"install": False}})}


def test_users_get_trainjobs_with_their_cluster_roles_and_never_their_status() -> None:
    roles = {role["metadata"]["name"]: role for role in of_kind(render(), "ClusterRole")}
    edit = rights(roles["paceline-trainjobs-edit"])
    assert edit == {("paceline.dev", "trainjobs"): {"create", "update", "patch", "delete", "deletecollection"}}
    assert (
        roles["paceline-trainjobs-view"]["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    )
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in roles["paceline-trainjobs-edit"]["metadata"]["labels"]
    assert "paceline-trainjobs-view" not in str(render({"rbac": {"aggregateToUserRoles": False}}))


def test_the_pod_is_restricted_and_its_root_file_system_is_read_only() -> None:
    pod = the(render(), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = pod["containers"][0]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/etc/paceline", "/tmp"}
    assert container["resources"]["limits"]["memory"]
    assert {container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "startupProbe")} == {"/healthz"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_an_id_set_to_null_is_left_to_the_cluster() -> None:
    pod = the(render({"podSecurityContext": {"runAsUser": None, "runAsGroup": None}}), "Deployment")
    assert pod["spec"]["template"]["spec"]["securityContext"].keys() == {"runAsNonRoot", "seccompProfile"}


def test_the_configuration_is_read_by_the_operator() -> None:
    config = configuration(render(EVERYTHING))
    assert config.default_storage.path == "gs://bucket/experiments"
    assert config.default_storage.secret_ref is not None
    assert config.default_storage.secret_ref.name == "gcs-credentials"
    assert config.default_storage.secret_ref.key == "sa.json"
    assert config.accelerators == {"A100": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}}
    assert config.agent_image == "paceline/operator@sha256:" + "0" * 64
    assert (config.pod_security, config.run_as_user, config.log_format) == ("restricted", 1000, "json")


def test_the_configuration_sets_every_setting_of_the_operator() -> None:
    keys = yaml.safe_load(the(render(EVERYTHING), "ConfigMap")["data"]["config.yaml"]).keys()
    assert keys == {field.alias for field in settings.Settings.model_fields.values()}


def test_a_change_of_the_configuration_rolls_the_pods_and_nothing_else_does() -> None:
    assert checksum(render()) != checksum(render({"progressPollSeconds": 5}))
    assert checksum(render()) == checksum(render({"service": {"labels": {"a": "b"}}}))


@pytest.mark.parametrize(
    ("values", "operator", "agent"),
    [
        pytest.param({}, "paceline/operator:0.1.0", "paceline/operator:0.1.0", id="appVersion"),
        pytest.param({"image": {"tag": "dev"}}, "paceline/operator:dev", "paceline/operator:dev", id="tag for both"),
        pytest.param(
            {"image": {"repository": "r.example:5000/op", "digest": "sha256:" + "a" * 64}, "agentImage": {"tag": "1"}},
            "r.example:5000/op@sha256:" + "a" * 64,
            "r.example:5000/op:1",
            id="digest, another agent",
        ),
        pytest.param(
            {"agentImage": {"repository": "r.example/agent"}},
            "paceline/operator:0.1.0",
            "r.example/agent:0.1.0",
            id="another repository",
        ),
    ],
)
def test_the_agent_comes_from_the_operators_image_unless_told(
    values: dict[str, Any], operator: str, agent: str
) -> None:
    rendered = render(values)
    assert the(rendered, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"] == operator
    assert configuration(rendered).agent_image == agent


def test_a_second_replica_brings_a_budget_and_a_spread() -> None:
    assert of_kind(render(), "PodDisruptionBudget") == []
    rendered = render({"replicas": 2})
    assert the(rendered, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    spread = the(rendered, "Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [constraint["topologyKey"] for constraint in spread] == ["kubernetes.io/hostname"]
    assert of_kind(render({"replicas": 2, "podDisruptionBudget": {"enabled": False}}), "PodDisruptionBudget") == []


def test_a_created_priority_class_is_the_operators() -> None:
    rendered = render({"priorityClass": {"create": True}})
    pod = the(rendered, "Deployment")["spec"]["template"]["spec"]
    assert pod["priorityClassName"] == the(rendered, "PriorityClass")["metadata"]["name"] == "paceline-operator"
    assert "priorityClassName" not in the(render(), "Deployment")["spec"]["template"]["spec"]


def test_selectors_match_the_pods_labels_whatever_the_user_adds() -> None:
    clash = {"commonLabels": {"app.kubernetes.io/name": "mine"}, "podLabels": {"app.kubernetes.io/instance": "mine"}}
    for values in ({}, EVERYTHING, clash):
        rendered = render(values)
        deployment = the(rendered, "Deployment")["spec"]
        labels = deployment["template"]["metadata"]["labels"]
        assert deployment["selector"]["matchLabels"].items() <= labels.items()
        assert the(rendered, "Service")["spec"]["selector"].items() <= labels.items()
        policy = named(of_kind(rendered, "NetworkPolicy"), "paceline-operator")
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_operator_reaches_api_server_agents_and_dns_only() -> None:
    policy = the(render(), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in policy["egress"]] == [
        [443, 6443, 8443],
        [8470],
        [53, 53],
    ]
    assert policy["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]


def test_workers_are_reached_by_workers_and_by_the_operator_only() -> None:
    rendered = render({**NAMESPACED, "workers": {"networkPolicy": {"enabled": True}}})
    policies = [
        found for found in of_kind(rendered, "NetworkPolicy") if found["metadata"]["name"] == "paceline-workers"
    ]
    assert [policy["metadata"]["namespace"] for policy in policies] == ["team-a", "team-b"]
    peers, operator = policies[0]["spec"]["ingress"]
    job = {"matchExpressions": [{"key": "paceline.dev/job", "operator": "Exists"}]}
    assert peers == {"from": [{"podSelector": job}]}
    assert operator["ports"] == [{"port": 8470, "protocol": "TCP"}]
    pod_labels = the(rendered, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert operator["from"][0]["podSelector"]["matchLabels"].items() <= pod_labels.items()
    assert operator["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": NAMESPACE}


def test_alerts_ask_for_metrics_that_the_operator_serves() -> None:
    metrics = Metrics()
    metrics.watch(lambda: 0, lambda: 0, dict, lambda: 0)
    metrics.reconciled("error", 1.0)
    metrics.requested("GET", 403, 1.0)
    served = set(re.findall(r"^(paceline_\w+?)[{ ]", metrics.text().decode(), re.MULTILINE))
    rules = the(render(EVERYTHING), "PrometheusRule")["spec"]["groups"][0]["rules"]
    asked = {name for rule in rules for name in re.findall(r"\b(paceline_\w+)(?=\{)", rule["expr"])}
    assert asked
    assert asked <= served
    assert all('namespace="paceline-system",service="paceline-operator"' in rule["expr"] for rule in rules)
    assert all(rule["annotations"].keys() == {"summary", "description"} for rule in rules)
    texts = " ".join(rule["annotations"]["description"] for rule in rules)
    assert not re.search(r"\s{2}|[{}]", texts), "folded lines are one line"


def test_a_group_that_waits_for_one_rank_for_long_is_an_alert() -> None:
    rules = the(render(EVERYTHING), "PrometheusRule")["spec"]["groups"][0]["rules"]
    (rule,) = (rule for rule in rules if "straggling" in rule["expr"])
    assert (rule["alert"], rule["for"], rule["labels"]) == ("PacelineStraggler", "15m", {"severity": "warning"})
    assert rule["expr"].endswith(") > 0")
    # What the alert tells to look at is there: the agents serve it, the condition has that name.
    assert "paceline_straggler_seconds" in rule["annotations"]["description"]
    assert f"condition {STRAGGLING} of" in rule["annotations"]["description"]


def test_the_monitors_find_the_ports() -> None:
    rendered = render(EVERYTHING)
    monitor = the(rendered, "ServiceMonitor")["spec"]
    service = the(rendered, "Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]
    agents = the(rendered, "PodMonitor")["spec"]
    assert agents["podMetricsEndpoints"][0]["port"] == "agent"
    assert agents["namespaceSelector"] == {"any": True}
    namespaced = the(render({**EVERYTHING, **NAMESPACED}), "PodMonitor")["spec"]
    assert namespaced["namespaceSelector"] == {"matchNames": ["team-a", "team-b"]}


def test_the_crd_is_that_of_the_models_and_stays_after_an_uninstall() -> None:
    rendered = the(render(), "CustomResourceDefinition")
    (source,) = parse((manifests.ROOT / "crds" / "paceline.dev_trainjobs.yaml").read_text())
    assert rendered["spec"] == source["spec"]
    assert rendered["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    free = the(render({"crds": {"keep": False, "annotations": {"a": "b"}}}), "CustomResourceDefinition")
    assert free["metadata"]["annotations"] == {"a": "b"}
    assert of_kind(render({"crds": {"install": False}}), "CustomResourceDefinition") == []


def test_common_labels_are_everywhere() -> None:
    for manifest in render(EVERYTHING):
        assert manifest["metadata"]["labels"]["team"] == "ml", manifest["kind"]


def test_the_kustomize_base_is_what_the_chart_renders() -> None:
    stale = [name for name, text in manifests.generated().items() if (manifests.ROOT / name).read_text() != text]
    assert stale == [], "run: python -m charts.manifests --write"


def configuration(rendered: list[Manifest]) -> settings.Settings:
    text = the(rendered, "ConfigMap")["data"]["config.yaml"]
    return settings.Settings.model_validate(yaml.safe_load(text))


def checksum(rendered: list[Manifest]) -> str:
    return str(the(rendered, "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"])


def rights(role: Manifest) -> dict[tuple[str, str], set[str]]:
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def named(found: list[Manifest], name: str) -> Manifest:
    return next(manifest for manifest in found if manifest["metadata"]["name"] == name)
