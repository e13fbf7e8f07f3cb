"""Manifests as users write them: read, and checked before they reach the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from paceline import api
from paceline.api import TrainJobSpec, names
from paceline.client import checks
from paceline.client.checks import short
from paceline.client.connection import Object
from paceline.client.errors import UsageError


def read(source: str, origin: str) -> list[Object]:
    """Return the TrainJobs of a YAML or JSON text.

    Args:
        source: The text; several documents are fine.
        origin: Where it comes from, for messages.

    Raises:
        UsageError: It is no YAML, holds something else, or a job is wrong: every problem is named.
    """
    import yaml

    try:
        documents = [document for document in yaml.safe_load_all(source) if document is not None]
    except yaml.YAMLError as error:
        raise UsageError(f"{origin} is no valid YAML: {error}") from None
    if not documents:
        raise UsageError(f"{origin} is empty: a TrainJob was expected")
    for document in documents:
        _refuse_other_kinds(document, origin)
    problems = [problem for document in documents for problem in _problems(document)]
    if problems:
        raise UsageError(f"{origin} is not valid, nothing was submitted:\n" + "\n".join(f"  {p}" for p in problems))
    return documents


def warnings(documents: Iterable[Object]) -> list[str]:
    """Return what is allowed and does nothing, of documents that `read` has accepted."""
    return [
        str(found) for document in documents for found in api.warnings(TrainJobSpec.model_validate(document["spec"]))
    ]


def _refuse_other_kinds(document: Any, origin: str) -> None:
    if not isinstance(document, dict):
        raise UsageError(f"{origin} holds {short(document)}: a TrainJob is a mapping with apiVersion, kind, ...")
    kind, version = document.get("kind"), document.get("apiVersion")
    if kind != names.KIND:
        raise UsageError(
            f"{origin}: kind is {kind!r}, this command submits {names.KIND}s alone; for other objects: kubectl apply -f"
        )
    if version != names.API_VERSION:
        raise UsageError(f"{origin}: apiVersion is {version!r}: write {names.API_VERSION}")


def _problems(document: Object) -> Iterator[str]:
    yield from _metadata(document.get("metadata"))
    unknown = sorted(set(document) - {"apiVersion", "kind", "metadata", "spec", "status"})
    yield from (f"{field}: no such field; a job has metadata and spec" for field in unknown)
    if not isinstance(document.get("spec"), dict):
        yield "spec: is missing: it says what to run (image, command, workers ...)"
        return
    yield from checks.problems(document["spec"])


def _metadata(metadata: Any) -> Iterator[str]:
    if not isinstance(metadata, dict) or not (metadata.get("name") or metadata.get("generateName")):
        yield "metadata.name: is missing: name the job, or write generateName: prefix-"
        return
    name = str(metadata.get("name") or "")
    if len(name) > names.MAX_JOB_NAME:
        yield (
            f"metadata.name: {short(name)} has {len(name)} characters: use at most {names.MAX_JOB_NAME}, the names of "
            "pods are made of it"
        )
