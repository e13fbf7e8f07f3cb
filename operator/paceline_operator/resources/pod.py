"""The pods of an attempt: one template, and what differs by pod."""

from __future__ import annotations

from typing import Any

from paceline.api import TrainJob
from paceline_operator import contract
from paceline_operator.frameworks import Group
from paceline_operator.policies.config import JobDefaults
from paceline_operator.resources import env, metadata, quantity, volumes
from paceline_operator.resources.merge import merge
from paceline_operator.resources.placement import away_from, placement, suspect_node

GRACE_S = 30
INJECT = ("python", "-m", "paceline.agent.inject", contract.MOUNT_PATH)


class AttemptPods:
    """Makes the pods of one attempt.

    What all share is made once: with 1,000 pods the rest would cost more than the requests.
    """

    def __init__(self, job: TrainJob, attempt: int, config: JobDefaults, *, grouped: bool = False) -> None:
        self._job = job
        self._group = Group(job.name, attempt, job.spec.pods, job.spec.workers.per_pod)
        self._defaults = env.defaults(job, config)
        grace_s = job.spec.pod_template.spec.get("terminationGracePeriodSeconds")
        self._shared = env.shared(job, self._group, config, GRACE_S if grace_s is None else grace_s)
        self._spec = _spec(job, attempt, config)
        if grouped:
            self._spec["schedulingGroup"] = {"podGroupName": contract.group_name(job.name, attempt)}
        self._labels = {
            **job.spec.pod_template.metadata.labels,
            **metadata.labels(job),
            contract.LABEL_ATTEMPT: str(attempt),
        }
        self._template_env = _template_env(job)

    def pod(self, index: int) -> dict[str, Any]:
        """Return the manifest of one pod."""
        name = contract.pod_name(self._job.name, self._group.attempt, index)
        variables = {**self._shared, **env.ranks(self._job, self._group, index)}
        merged = env.merged(variables, self._defaults, self._job)
        if self._template_env:
            merged = merge({"env": merged}, {"env": self._template_env})["env"]
        worker, *others = self._spec["containers"]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self._job.namespace,
                "labels": {**self._labels, contract.LABEL_INDEX: str(index)},
                "annotations": self._job.spec.pod_template.metadata.annotations,
                "ownerReferences": [metadata.owner(self._job)],
            },
            "spec": {**self._spec, "hostname": name, "containers": [{**worker, "env": merged}, *others]},
        }


def _template_env(job: TrainJob) -> list[dict[str, Any]]:
    for container in job.spec.pod_template.spec.get("containers", []):
        if container["name"] == contract.WORKER_CONTAINER:
            variables: list[dict[str, Any]] = container.get("env") or []
            return variables
    return []


def _spec(job: TrainJob, attempt: int, config: JobDefaults) -> dict[str, Any]:
    """Return the pod spec without hostname and without the worker's env."""
    pod_volumes, mounts = volumes.volumes(job, config)
    spec: dict[str, Any] = {
        "subdomain": job.name,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        **placement(job, attempt, config),
        **security(config),
        "containers": [_worker(job, config, mounts)],
        "volumes": pod_volumes,
    }
    if job.spec.agent.inject:
        spec["initContainers"] = [inject(config)]
    merged = merge(spec, job.spec.pod_template.spec)
    # The worker stays first: `kubectl logs` and `exec` take the first container.
    merged["containers"].sort(key=lambda container: container["name"] != contract.WORKER_CONTAINER)
    node = suspect_node(job, attempt)
    return merged if node is None else away_from(merged, node)


def _worker(job: TrainJob, config: JobDefaults, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    spec = job.spec
    start = ["/bin/sh", contract.RUN_SCRIPT] if spec.agent.inject else ["paceline-agent", "--"]
    resources = _resources(job)
    worker: dict[str, Any] = {
        "name": contract.WORKER_CONTAINER,
        "image": spec.image,
        "command": start,
        "args": [*spec.command, *spec.args],
        "envFrom": env.sources(job, config),
        "ports": [{"name": contract.AGENT_PORT_NAME, "containerPort": contract.AGENT_PORT, "protocol": "TCP"}],
        "volumeMounts": mounts,
        # An image without the agent writes no message: the last lines of its log say more than nothing.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **container_security(config),
    }
    if spec.image_pull_policy is not None:
        worker["imagePullPolicy"] = spec.image_pull_policy
    if resources:
        worker["resources"] = {"requests": resources, "limits": resources}
    return worker


def _resources(job: TrainJob) -> dict[str, str]:
    wanted, per_pod = job.spec.workers.resources, job.spec.workers.per_pod
    found = {}
    if wanted.cpu is not None:
        found["cpu"] = quantity.times(wanted.cpu, per_pod)
    if wanted.memory is not None:
        found["memory"] = quantity.times(wanted.memory, per_pod)
    if wanted.gpu:
        found[job.spec.workers.gpu_resource] = str(wanted.gpu * per_pod)
    return found


def inject(config: JobDefaults) -> dict[str, Any]:
    """Return the init container that brings agent and SDK into any image."""
    container: dict[str, Any] = {
        "name": contract.INJECT_CONTAINER,
        "image": config.agent_image,
        "command": list(INJECT),
        "volumeMounts": [{"name": contract.VOLUME, "mountPath": contract.MOUNT_PATH}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        **container_security(config),
    }
    if config.agent_image_pull_policy is not None:
        container["imagePullPolicy"] = config.agent_image_pull_policy
    return container


def security(config: JobDefaults) -> dict[str, Any]:
    """Return the fields of a pod spec that Pod Security asks for."""
    if config.pod_security == "none":
        return {}
    return {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": config.run_as_user,
            "runAsGroup": config.run_as_user,
            "fsGroup": config.run_as_user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    }


def container_security(config: JobDefaults) -> dict[str, Any]:
    """Return the fields of a container that Pod Security asks for."""
    if config.pod_security == "none":
        return {}
    return {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
