"""The environment of a worker container: what Paceline sets, what the user sets, and who wins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from paceline.api import EnvFromSource, EnvVar, TrainJob
from paceline_operator import contract
from paceline_operator.frameworks import REGISTRY, Group
from paceline_operator.policies.config import JobDefaults
from paceline_operator.resources import quantity


def shared(job: TrainJob, group: Group, config: JobDefaults, grace_s: int) -> dict[str, str]:
    """Return the variables that are the same in all pods of an attempt."""
    checkpoints = job.spec.checkpoints
    kept = {
        "keep": checkpoints.keep,
        "scoreAttribute": checkpoints.score_attribute,
        "scoreOrder": checkpoints.score_order,
    }
    variables = {
        contract.WORLD_SIZE: str(group.world_size),
        contract.LOCAL_WORLD_SIZE: str(group.per_pod),
        contract.MASTER_ADDR: group.address(0),
        contract.MASTER_PORT_ENV: str(contract.MASTER_PORT),
        contract.JOB: job.name,
        contract.NAMESPACE: job.namespace,
        contract.RUN_ID: job.uid,
        contract.ATTEMPT: str(group.attempt),
        contract.FRAMEWORK: job.spec.framework,
        contract.EXPERIMENT_NAME: job.experiment_name,
        contract.RESUME_FROM: job.spec.checkpoints.resume_from,
        contract.CHECKPOINTS: json.dumps({k: v for k, v in kept.items() if v is not None}, separators=(",", ":")),
        contract.LEAD: f"{group.address(0)}:{contract.AGENT_PORT}",
        contract.GRACE_SECONDS: str(grace_s),
    }
    path = job.spec.storage.path or config.storage_path
    return variables if path is None else {**variables, contract.STORAGE_PATH: path}


def ranks(job: TrainJob, group: Group, index: int) -> dict[str, str]:
    """Return the variables of one pod, in the values of its first process."""
    return {
        contract.RANK: str(index * group.per_pod),
        contract.LOCAL_RANK: "0",
        contract.NODE_RANK: str(index),
        contract.GROUP_RANK: str(index),
        **REGISTRY[job.spec.framework](group, index),
    }


def defaults(job: TrainJob) -> dict[str, str]:
    """Return variables that the user's own replace."""
    return {
        contract.OMP_NUM_THREADS: omp_threads(job.spec.workers.resources.cpu),
        contract.HOME: contract.HOME_PATH,
        contract.TMPDIR: contract.TMP_PATH,
    }


def omp_threads(cpu: str | None) -> str:
    """Return the threads of a worker: its whole CPUs, at least one."""
    return str(max(1, int(quantity.value(cpu)))) if cpu else "1"


def merged(paceline: Mapping[str, str], comfort: Mapping[str, str], job: TrainJob) -> list[dict[str, Any]]:
    """Return the env list: Paceline's, then the credentials', then the user's, which wins where a name is there twice.

    The user's come last, so that `$(RANK)` in them is replaced.
    """
    user = [_env_var(variable) for variable in job.spec.env]
    credentials = {name: text for credential in job.spec.credentials for name, text in credential.env.items()}
    taken = {variable["name"] for variable in user}
    values = {**comfort, **credentials}
    return [
        *({"name": name, "value": text} for name, text in paceline.items()),
        *({"name": name, "value": text} for name, text in values.items() if name not in taken and name not in paceline),
        *(variable for variable in user if variable["name"] not in paceline),
    ]


def sources(job: TrainJob, config: JobDefaults) -> list[dict[str, Any]]:
    """Return envFrom: storage and credentials first, the user's last, which win."""
    secret = job.spec.storage.secret_ref.name if job.spec.storage.secret_ref else None
    if secret is None and job.spec.storage.path is None:
        # The default Secret belongs to the default path alone: it is not shown to another store.
        secret = config.storage_secret
    found: list[dict[str, Any]] = [{"secretRef": {"name": secret}}] if secret else []
    found += [
        {"secretRef": credential.secret_ref.model_dump(by_alias=True, exclude_defaults=True)}
        for credential in job.spec.credentials
        if credential.mount_path is None
    ]
    return [*found, *(_env_from(source) for source in job.spec.env_from)]


def _env_var(variable: EnvVar) -> dict[str, Any]:
    return variable.model_dump(mode="json", by_alias=True, exclude_none=True)


def _env_from(source: EnvFromSource) -> dict[str, Any]:
    return source.model_dump(mode="json", by_alias=True, exclude_none=True)
