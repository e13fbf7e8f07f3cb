"""The environment of a worker container: what Paceline sets, what the user sets, and who wins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from paceline.api import Comet, EnvFromSource, EnvVar, Mlflow, Tracking, TrainJob, Wandb
from paceline_operator import contract
from paceline_operator.frameworks import REGISTRY, Group
from paceline_operator.policies.config import JobDefaults
from paceline_operator.resources import quantity, store


def shared(job: TrainJob, group: Group, config: JobDefaults, grace_s: int) -> dict[str, str]:
    """Return the variables that are the same in all pods of an attempt."""
    checkpoints = job.spec.checkpoints
    kept = {
        "keep": checkpoints.keep,
        "scoreAttribute": checkpoints.score_attribute,
        "scoreOrder": checkpoints.score_order,
        "maxPending": checkpoints.max_pending,
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
        contract.CHECKPOINTS: _json({key: value for key, value in kept.items() if value is not None}),
        contract.LEAD: f"{group.address(0)}:{contract.AGENT_PORT}",
        contract.GRACE_SECONDS: str(grace_s),
        contract.STALL_SECONDS: str(job.spec.failure_policy.stall_timeout_seconds),
    }
    path = store.path(job, config)
    if path is not None:
        variables[contract.STORAGE_PATH] = path
    trackers = job.spec.tracking.model_dump(
        by_alias=True, exclude_none=True, exclude={"tensorboard", "preflight"}, mode="json"
    )
    if trackers:
        variables[contract.TRACKING] = _json({**trackers, "preflight": job.spec.tracking.preflight})
    if job.spec.artifacts.sync:
        variables[contract.ARTIFACTS] = _json(job.spec.artifacts.model_dump(by_alias=True))
    return variables


def ranks(job: TrainJob, group: Group, index: int) -> dict[str, str]:
    """Return the variables of one pod, in the values of its first process."""
    return {
        contract.RANK: str(index * group.per_pod),
        contract.LOCAL_RANK: "0",
        contract.NODE_RANK: str(index),
        contract.GROUP_RANK: str(index),
        **REGISTRY[job.spec.framework](group, index),
    }


def defaults(job: TrainJob, config: JobDefaults) -> dict[str, str]:
    """Return variables that the user's own replace."""
    variables = {
        contract.OMP_NUM_THREADS: omp_threads(job.spec.workers.resources.cpu),
        contract.HOME: contract.HOME_PATH,
        contract.TMPDIR: contract.TMP_PATH,
    }
    return {**variables, **_of_trackers(job.spec.tracking), **store.key_file_variables(job, config)}


def _of_trackers(tracking: Tracking) -> dict[str, str]:
    """The variables in which each library looks for what `spec.tracking` says."""
    wandb, mlflow, comet = tracking.wandb or Wandb(), tracking.mlflow or Mlflow(), tracking.comet or Comet()
    values = {
        "WANDB_PROJECT": wandb.project,
        "WANDB_ENTITY": wandb.entity,
        "WANDB_MODE": wandb.mode,
        "MLFLOW_TRACKING_URI": mlflow.tracking_uri,
        "MLFLOW_EXPERIMENT_NAME": mlflow.experiment,
        "COMET_PROJECT_NAME": comet.project,
        "COMET_WORKSPACE": comet.workspace,
    }
    return {name: value for name, value in values.items() if value is not None}


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
    secret = store.variables(job, config)
    found: list[dict[str, Any]] = [{"secretRef": {"name": secret}}] if secret else []
    found += [
        {"secretRef": credential.secret_ref.model_dump(by_alias=True, exclude_defaults=True)}
        for credential in job.spec.credentials
        if credential.mount_path is None or credential.as_env
    ]
    return [*found, *(_env_from(source) for source in job.spec.env_from)]


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _env_var(variable: EnvVar) -> dict[str, Any]:
    return variable.model_dump(mode="json", by_alias=True, exclude_none=True)


def _env_from(source: EnvFromSource) -> dict[str, Any]:
    return source.model_dump(mode="json", by_alias=True, exclude_none=True)
