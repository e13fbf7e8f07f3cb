"""Which Secret or key is missing, what of the job needs it, and when is that over?

The operator reads no Secrets: what is missing stands in the kubelet's words. What a tracker lacks, the agent tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from paceline.api import Condition, TrainJob, TrainJobSpec, reasons
from paceline_operator import contract
from paceline_operator.policies.observed import AgentReport
from paceline_operator.policies.problems import Problem

_ABSENT = re.compile(r'secrets? "([^"]+)" not found', re.IGNORECASE)
_NO_KEY = re.compile(r"couldn't find key (\S+) in Secret [^/\s]+/([^\s,;]+)", re.IGNORECASE)
_NO_FILE = re.compile(r'volume "([^"]+)".*references non-existent secret key: (\S+)')
# What stays the same while other pods come to wait for the same thing.
_POD = "; pod "
# The status cuts longer ones: they would never be found unchanged.
_LONGEST = 1000
_NOT_ASKED_YET = frozenset({"", "starting"})


@dataclass(frozen=True, slots=True)
class Lacks:
    """Something is missing, or something else than before."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Found:
    """It is there now."""

    message: str


@dataclass(frozen=True, slots=True)
class Missing:
    """A Secret that is not there, or lacks a key."""

    secret: str
    key: str = ""
    """Empty: the whole Secret is missing."""


def decide(
    known: Condition | None, problem: Problem | None, report: AgentReport | None, *, running: bool
) -> Lacks | Found | None:
    """Decide what is new about missing credentials; None: nothing.

    Args:
        known: The condition on record.
        problem: What keeps the pods from starting, if something does.
        report: The lead's newest answer; without one nothing is known to have changed.
        running: All workers run.
    """
    on_record = known if known is not None and known.status == "True" else None
    lacks = _lacks(problem, report)
    if lacks is not None:
        told = on_record is not None and on_record.reason == lacks.reason
        same = told and on_record is not None and _core(on_record.message) == _core(lacks.message)
        return None if same else lacks
    if on_record is None:
        return None
    if on_record.reason == reasons.MISSING_SECRET:
        # Whoever waits for something else has what it waited for before.
        over = running or (problem is not None and problem.condition == "Running")
    else:
        over = report is not None and report.outcome not in _NOT_ASKED_YET
    return Found("what was missing is there") if over else None


def _lacks(problem: Problem | None, report: AgentReport | None) -> Lacks | None:
    if problem is not None and problem.reason == reasons.MISSING_SECRET:
        return Lacks(problem.reason, problem.message[:_LONGEST])
    told = report.tracking_problem if report is not None else None
    return Lacks(told.reason, f"{told.kind}: {told.message}"[:_LONGEST]) if told is not None else None


def _core(message: str) -> str:
    return message.partition(_POD)[0]


def explained(problem: Problem | None, job: TrainJob, default_secret: str | None) -> Problem | None:
    """Return the problem; one of a missing Secret says which, and which fields of the spec need it.

    Args:
        problem: What keeps the pods from starting.
        job: The job.
        default_secret: Secret of the operator's default storage, where the job uses that.
    """
    if problem is None or problem.reason != reasons.MISSING_SECRET:
        return problem
    missing = what(problem.said, job.spec, default_secret)
    if missing is None:
        return problem
    fields = list(needed_by(job.spec, missing, default_secret))
    secret = f'Secret "{missing.secret}" '
    lack = (
        f'in namespace {job.namespace} has no key "{missing.key}"'
        if missing.key
        else f"is not in namespace {job.namespace}"
    )
    need = f", and {' and '.join(fields)} {'needs' if len(fields) == 1 else 'need'} it" if fields else ""
    create = "add the key to the Secret" if missing.key else "create the Secret"
    way_out = f"{_POD}{problem.pod} waits: {create}, the job then starts by itself"
    return replace(problem, message=f"{secret}{lack}{need}{way_out}")


def what(said: str, spec: TrainJobSpec, default_secret: str | None) -> Missing | None:
    """Return what is missing by the kubelet's words; None where they name nothing.

    Args:
        said: Message of a container that waits, or of an Event.
        spec: The job's: of a key that a mounted Secret lacks, the kubelet names the volume and not the Secret.
        default_secret: Secret of the operator's default storage, where the job uses that.
    """
    if found := _NO_KEY.search(said):
        return Missing(found[2], found[1])
    if found := _NO_FILE.search(said):
        secret = _mounted(found[1], spec, default_secret)
        return Missing(secret, found[2]) if secret else None
    if found := _ABSENT.search(said):
        return Missing(found[1])
    return None


def _mounted(volume: str, spec: TrainJobSpec, default_secret: str | None) -> str | None:
    if volume == contract.STORAGE_KEY_VOLUME:
        own = spec.storage.secret_ref
        return own.name if own is not None else default_secret
    for found in spec.pod_template.spec.get("volumes", []):
        if found["name"] == volume and isinstance(secret := found.get("secret"), dict):
            return str(secret.get("secretName", "")) or None
    return None


def needed_by(spec: TrainJobSpec, missing: Missing, default_secret: str | None) -> Iterator[str]:
    """Yield the fields of the spec that need what is missing, as a user writes them.

    Where only a key is missing, those that take the Secret whole have what they need.
    """
    name, whole = missing.secret, not missing.key
    own = spec.storage.secret_ref
    if own is not None and own.name == name:
        yield "spec.storage.secretRef"
    elif own is None and default_secret == name:
        yield "the operator's defaultStorage.secretRef"
    for index, credential in enumerate(spec.credentials):
        ref = credential.secret_ref
        if whole and ref.name == name and not ref.optional:
            where = f" (mounted at {credential.mount_path})" if credential.mount_path else ""
            yield f"spec.credentials[{index}]{where}"
    for variable in spec.env:
        key = variable.value_from.secret_key_ref if variable.value_from else None
        if key is not None and key.name == name and not key.optional and missing.key in ("", key.key):
            yield f"spec.env {variable.name}"
    for index, source in enumerate(spec.env_from):
        if (
            whole
            and source.secret_ref is not None
            and source.secret_ref.name == name
            and not source.secret_ref.optional
        ):
            yield f"spec.envFrom[{index}]"
    if _names(spec.pod_template.spec, name):
        yield "spec.podTemplate"


def _names(value: Any, secret: str) -> bool:
    """Whether a part of a pod spec refers to the Secret."""
    if isinstance(value, list):
        return any(_names(item, secret) for item in value)
    if not isinstance(value, dict):
        return False
    if value.get("secretName") == secret:
        return True
    refs = [value.get(field) for field in ("secretRef", "secretKeyRef", "secret")]
    return any(isinstance(ref, dict) and ref.get("name") == secret for ref in refs) or any(
        _names(item, secret) for item in value.values()
    )


def mounts(spec: TrainJobSpec) -> bool:
    """Tell whether the spec mounts Secrets of the user's: that one is missing stands in the pods' Events alone."""
    template = (volume for volume in spec.pod_template.spec.get("volumes", []))
    return any(credential.mount_path is not None for credential in spec.credentials) or any(
        "secret" in volume or "projected" in volume for volume in template
    )
