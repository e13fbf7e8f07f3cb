"""What is wrong with a spec that the API server's schema cannot see: the inside of podTemplate, mounts, names.

The operator ends such a job with reason InvalidSpec before it creates anything; the CLI says it before it submits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paceline.api import names
from paceline.api.spec import FailureRule, TrainJobSpec

# Set by Paceline on every pod: another value would break the names, the Service or the restart of the group.
OWNED_POD_FIELDS = ("restartPolicy", "hostname", "subdomain", "setHostnameAsFQDN", "hostnameOverride")
LISTS_OF_NAMED = ("containers", "initContainers", "volumes", "imagePullSecrets")
LISTS = (*LISTS_OF_NAMED, "tolerations", "topologySpreadConstraints", "hostAliases", "readinessGates")
MAPS = ("nodeSelector", "affinity", "securityContext", "dnsConfig")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, and a sentence that names the value and the way out."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def check(
    spec: TrainJobSpec, *, accelerators: Collection[str] | None = None, default_storage: bool | None = None
) -> list[Problem]:
    """Return all problems of a spec that the API server has accepted.

    Args:
        spec: The spec, with its defaults.
        accelerators: Names that the operator is configured for; None where that is unknown (the CLI).
        default_storage: Whether the operator has storage for jobs that name none; None where that is unknown.
    """
    problems = list(_pod_spec(spec.pod_template.spec))
    if not problems:
        problems += _worker_container(spec)
        problems += _paceline_pieces(spec.pod_template.spec)
        problems += _storage(spec)
    problems += _accelerator(spec, accelerators)
    problems += _gang(spec)
    problems += _serve(spec, default_storage)
    return problems


def warnings(spec: TrainJobSpec) -> list[Problem]:
    """Return what is allowed and does nothing: rules of the failure policy that no failure ever comes to."""
    rules = spec.failure_policy.rules
    found = []
    for later, rule in enumerate(rules):
        earlier = next((i for i in range(later) if _covers(rules[i], rule)), None)
        if earlier is not None:
            message = f"never decides: rules[{earlier}] matches all that it matches, and comes first"
            found.append(Problem(f"spec.failurePolicy.rules[{later}]", f"{message}: move it up, or remove it"))
    return found


def _covers(first: FailureRule, second: FailureRule) -> bool:
    codes = not first.exit_codes or (second.exit_codes and set(second.exit_codes) <= set(first.exit_codes))
    causes = not first.reasons or (second.reasons and set(second.reasons) <= set(first.reasons))
    return bool(codes and causes)


def _pod_spec(pod: Mapping[str, Any]) -> Iterator[Problem]:
    for name in OWNED_POD_FIELDS:
        if name in pod:
            yield Problem(
                f"spec.podTemplate.spec.{name}", f"is {pod[name]!r}, but Paceline sets it on every pod: remove it"
            )
    for name in LISTS:
        if name in pod and not (isinstance(pod[name], list) and all(isinstance(item, dict) for item in pod[name])):
            yield Problem(f"spec.podTemplate.spec.{name}", f"is {pod[name]!r}: write a list of objects")
        elif name in LISTS_OF_NAMED:
            yield from _named(name, pod.get(name, []))
    for name in MAPS:
        if name in pod and not isinstance(pod[name], dict):
            yield Problem(f"spec.podTemplate.spec.{name}", f"is {pod[name]!r}: write an object")


def _named(field: str, items: list[dict[str, Any]]) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        name = item.get("name")
        where = f"spec.podTemplate.spec.{field}[{index}]"
        if not isinstance(name, str) or not name:
            yield Problem(f"{where}.name", "is missing: give it a name")
        elif name in seen:
            yield Problem(f"{where}.name", f"{name!r} is there twice: names in {field} differ")
        else:
            seen.add(name)


def _worker_container(spec: TrainJobSpec) -> Iterator[Problem]:
    for index, container in enumerate(spec.pod_template.spec.get("containers", [])):
        if container["name"] != names.WORKER_CONTAINER:
            continue
        where = f"spec.podTemplate.spec.containers[{index}]"
        for field in ("image", "command", "args", "imagePullPolicy"):
            if field in container:
                yield Problem(f"{where}.{field}", f"is {container[field]!r}: write it in spec.{field} instead")
        for place, variable in enumerate(container.get("env") or []):
            name = variable.get("name", "") if isinstance(variable, dict) else ""
            if names.is_reserved_env(name) or (name == names.TF_CONFIG and spec.framework == "tensorflow"):
                yield Problem(f"{where}.env[{place}].name", f"{name!r} is set by Paceline for each process: remove it")


def _paceline_pieces(pod: Mapping[str, Any]) -> Iterator[Problem]:
    for index, container in enumerate(pod.get("initContainers", [])):
        if container["name"] == names.INJECT_CONTAINER:
            yield Problem(
                f"spec.podTemplate.spec.initContainers[{index}].name",
                f"{names.INJECT_CONTAINER!r} is the container that brings the agent: choose another name",
            )
    for index, volume in enumerate(pod.get("volumes", [])):
        if volume["name"] == names.VOLUME:
            yield Problem(
                f"spec.podTemplate.spec.volumes[{index}].name",
                f"{names.VOLUME!r} is the volume of the agent: choose another name",
            )
    for where, mount_path in _mounts(pod):
        if below(mount_path, names.MOUNT_PATH):
            yield Problem(where, f"{mount_path!r} would hide the agent in {names.MOUNT_PATH}: choose another directory")


def _storage(spec: TrainJobSpec) -> Iterator[Problem]:
    path, volume = spec.storage.path, spec.storage.volume
    if path is None or not path.startswith("/") or spec.pods == 1:
        return
    mounted = [mount_path for _, mount_path in _mounts(spec.pod_template.spec)]
    if volume is not None:
        mounted.append(volume.mount_path)
    if not any(below(path, mount_path) for mount_path in mounted):
        yield Problem(
            "spec.storage.path",
            f"{path!r} is on no volume that the {spec.pods} pods share: set spec.storage.volume with a mountPath "
            "above it, or use a store such as s3://, gs:// or hdfs://",
        )


def _accelerator(spec: TrainJobSpec, accelerators: Collection[str] | None) -> Iterator[Problem]:
    wanted = spec.workers.accelerator
    if wanted is None or accelerators is None or wanted in accelerators:
        return
    known = ", ".join(sorted(accelerators)) or "none"
    yield Problem(
        "spec.workers.accelerator",
        f"{wanted!r} is not known to the operator (known: {known}): choose one of them, or add it to `accelerators` of "
        "the operator's configuration",
    )


def _gang(spec: TrainJobSpec) -> Iterator[Problem]:
    own = spec.pod_template.spec.get("schedulingGroup")
    if own is not None and spec.scheduling.gang == "PodGroup":
        yield Problem(
            "spec.podTemplate.spec.schedulingGroup",
            f'is {own!r}, but spec.scheduling.gang "PodGroup" makes a PodGroup for each attempt: remove it, or write '
            '"None" in spec.scheduling.gang and look after the group yourself',
        )


def _serve(spec: TrainJobSpec, default_storage: bool | None) -> Iterator[Problem]:
    if spec.tracking.tensorboard.serve and spec.storage.path is None and default_storage is False:
        yield Problem(
            "spec.tracking.tensorboard.serve",
            "is true, but the run has no storage whose events could be shown: set spec.storage.path, or remove serve",
        )


def _mounts(pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Mount paths of the worker container: field and path."""
    for index, container in enumerate(pod.get("containers", [])):
        if container["name"] != names.WORKER_CONTAINER:
            continue
        for place, mount in enumerate(container.get("volumeMounts") or []):
            if isinstance(mount, dict) and isinstance(mount.get("mountPath"), str):
                where = f"spec.podTemplate.spec.containers[{index}].volumeMounts[{place}].mountPath"
                yield where, mount["mountPath"]


def below(path: str, directory: str) -> bool:
    """Tell whether an absolute path is a directory or inside it; `/a/b` is not inside `/a/bc`."""
    path, directory = path.rstrip("/"), directory.rstrip("/")
    return path == directory or path.startswith(f"{directory}/")
