"""How the workers reach the store of a job: its path, and the Secret as variables or as a file."""

from __future__ import annotations

from paceline.api import TrainJob
from paceline_operator import contract
from paceline_operator.policies.config import JobDefaults

# Google's clients take credentials from a file; those of the other stores from variables.
FILE_SCHEMES = ("gs://", "gcs://")


def path(job: TrainJob, config: JobDefaults) -> str | None:
    """Return the storage path; None where neither the job nor the operator names one."""
    return job.spec.storage.path or config.storage_path


def variables(job: TrainJob, config: JobDefaults) -> str | None:
    """Return the Secret whose keys become variables, if there is one."""
    secret, _ = _secret(job, config)
    return None if _takes_file(job, config) else secret


def key_file(job: TrainJob, config: JobDefaults) -> tuple[str, str] | None:
    """Return the Secret and the key of it that becomes a file, if there is one."""
    secret, key = _secret(job, config)
    return (secret, key or contract.STORAGE_KEY_FILE) if secret and _takes_file(job, config) else None


def key_file_variables(job: TrainJob, config: JobDefaults) -> dict[str, str]:
    """Return the variable that names this file in a container; nothing where there is none."""
    if key_file(job, config) is None:
        return {}
    return {contract.GOOGLE_CREDENTIALS: f"{contract.STORAGE_KEY_DIRECTORY}/{contract.STORAGE_KEY_FILE}"}


def _takes_file(job: TrainJob, config: JobDefaults) -> bool:
    return (path(job, config) or "").startswith(FILE_SCHEMES)


def _secret(job: TrainJob, config: JobDefaults) -> tuple[str | None, str | None]:
    given = job.spec.storage.secret_ref
    if given is not None:
        return given.name, given.key
    # The default Secret belongs to the default path alone: it is not shown to another store.
    return (config.storage_secret, config.storage_secret_key) if job.spec.storage.path is None else (None, None)
