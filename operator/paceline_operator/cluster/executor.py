"""Carries out a plan's creations and deletions: in parallel, within bounds, and as often as it takes to be sure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from paceline.api import TrainJob, names, reasons
from paceline_operator import contract
from paceline_operator.cluster import pods as wire
from paceline_operator.cluster.client import JSON, MERGE_PATCH, ApiError, UnreachableError
from paceline_operator.cluster.gate import Gate, Turn
from paceline_operator.policies.config import JobDefaults
from paceline_operator.policies.observed import PodSeen, Refusal
from paceline_operator.resources.pod import AttemptPods
from paceline_operator.resources.service import service

T = TypeVar("T")

# Of one job: a job of 1,000 pods does not stand in the way of one of four.
PARALLEL_OF_ONE_JOB = 32
FORBIDDEN = 403
NOT_FOUND = 404
CONFLICT = 409
encode = msgspec.json.encode


class Api(Protocol):
    """What the executor needs of a client."""

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        params: Any = None,
        content_type: str = JSON,
        timeout_s: float | None = None,
    ) -> bytes:
        """Send one request. Raises ApiError or UnreachableError."""
        ...


class Executor:
    """Writes to the API server in the name of jobs."""

    def __init__(self, api: Api, config: JobDefaults, gate: Gate | None = None) -> None:
        self._api = api
        self._config = config
        self._gate = gate or Gate()

    async def create_service(self, job: TrainJob, *, look_first: bool) -> wire.Pod | Refusal:
        """Make the job's Service; return its metadata, or why it could not be.

        Args:
            job: The job.
            look_first: Read before writing: it was refused since its name is taken.

        Raises:
            ApiError: The server failed.
            UnreachableError: No answer.
        """
        async with self._gate.pass_(Turn.SOON):
            return await self._create_service(job, look_first)

    async def _create_service(self, job: TrainJob, look_first: bool) -> wire.Pod | Refusal:
        path = f"/api/v1/namespaces/{job.namespace}/services"
        if look_first:
            try:
                return await self._found_service(job)
            except ApiError as error:
                if error.code != NOT_FOUND:
                    raise
        try:
            return wire.decode_pod(await self._api.request("POST", path, encode(service(job))))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                return refusal(job.name, error)
        return await self._found_service(job)

    async def _found_service(self, job: TrainJob) -> wire.Pod | Refusal:
        answer = await self._api.request("GET", _service_path(job))
        return taken(answer, job, "Service", job.name) or wire.decode_pod(answer)

    async def create_pods(
        self,
        job: TrainJob,
        attempt: int,
        indices: Sequence[int],
        there: Callable[[wire.Pod], None] = lambda pod: None,
        *,
        grouped: bool = False,
    ) -> tuple[list[wire.Pod], list[Refusal]]:
        """Create pods of an attempt; return those that exist now, and why others do not.

        A pod that exists already and belongs to this job counts as created: an answer was lost, or another replica
        was faster. After a refusal no more are asked for: what refuses one (a quota, an invalid template) refuses all.
        `there` is told of each pod that exists, also when the call raises because of another one.

        Raises:
            UnreachableError: No answer for some pod; what was created is seen later.
            ApiError: The server failed (5xx).
        """
        pods = AttemptPods(job, attempt, self._config, grouped=grouped)
        refusals: list[Refusal] = []

        async def create(index: int) -> wire.Pod | None:
            if refusals:
                return None
            async with self._gate.pass_(Turn.NOW):
                result = await self._create_pod(job, attempt, index, pods)
            if isinstance(result, Refusal):
                refusals.append(result)
                return None
            there(result)
            return result

        made = await _bounded(create, indices, PARALLEL_OF_ONE_JOB)
        return [pod for pod in made if pod is not None], refusals[:1]

    async def _create_pod(self, job: TrainJob, attempt: int, index: int, pods: AttemptPods) -> wire.Pod | Refusal:
        path = f"/api/v1/namespaces/{job.namespace}/pods"
        name = contract.pod_name(job.name, attempt, index)
        try:
            return wire.decode_pod(await self._api.request("POST", path, encode(pods.pod(index))))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                if error.code >= 500:
                    raise
                return refusal(name, error)
        try:
            answer = await self._api.request("GET", f"{path}/{name}")
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
            # It went between the two requests: the next look creates it.
            return Refusal(name, CONFLICT, reasons.NAME_TAKEN, f"pod {name} was just being deleted; trying again")
        return taken(answer, job, "pod", name) or wire.decode_pod(answer)

    async def delete_pods(self, namespace: str, gone: Iterable[PodSeen]) -> list[str]:
        """Delete these very pods (by uid), each with its own grace period; return the uids.

        Raises:
            ApiError: The server refused or failed.
            UnreachableError: No answer.
        """

        async def delete(pod: PodSeen) -> str:
            async with self._gate.pass_(Turn.NOW):
                await delete_this(self._api, f"/api/v1/namespaces/{namespace}/pods/{pod.name}", pod.uid)
            return pod.uid

        return await _bounded(delete, list(gone), PARALLEL_OF_ONE_JOB)

    async def delete_service(self, job: TrainJob, uid: str) -> None:
        """Delete this very Service of the job. Raises as `delete_pods`."""
        await delete_this(self._api, _service_path(job), uid)

    async def delete_job(self, job: TrainJob) -> None:
        """Delete the TrainJob; the garbage collector deletes what it owns. Raises as `delete_pods`."""
        await delete_this(self._api, job_path(job.namespace, job.name), job.uid, propagation="Background")

    async def patch_status(
        self, job: TrainJob, resource_version: int, patch: dict[str, Any], turn: Turn
    ) -> dict[str, Any]:
        """Merge `patch` into the status of this very version of the job; return its new body.

        The version makes it a compare-and-set: an operator that has lost its lease, or that has not seen the user's
        last change, cannot overwrite what it does not know.

        Raises:
            ApiError: 409 when the job has changed since, 404 when it is gone.
            UnreachableError: No answer.
        """
        body = {"metadata": {"resourceVersion": str(resource_version), "uid": job.uid}, "status": patch}
        path = f"{job_path(job.namespace, job.name)}/status"
        async with self._gate.pass_(turn):
            answer = await self._api.request("PATCH", path, encode(body), content_type=MERGE_PATCH)
        decoded: dict[str, Any] = msgspec.json.decode(answer)
        return decoded

    async def read_job(self, namespace: str, name: str) -> dict[str, Any]:
        """Return the job as it stands. Raises as `Api.request`."""
        decoded: dict[str, Any] = msgspec.json.decode(await self._api.request("GET", job_path(namespace, name)))
        return decoded


def job_path(namespace: str, name: str) -> str:
    """Return the path of a TrainJob."""
    return f"/apis/{names.API_VERSION}/namespaces/{namespace}/{names.PLURAL}/{name}"


def _service_path(job: TrainJob) -> str:
    return f"/api/v1/namespaces/{job.namespace}/services/{job.name}"


def refusal(name: str, error: ApiError) -> Refusal:
    """Return an answer of 4xx as a value. Raises the error itself where the server failed."""
    if error.code >= 500:
        raise error
    return Refusal(name, error.code, error.reason, error.message)


def taken(answer: bytes, job: TrainJob, kind: str, name: str) -> Refusal | None:
    """Return a refusal where an object of our name is not ours. It is never adopted."""
    found = wire.decode_pod(answer)
    if wire.owner_uid(found) == job.uid:
        return None
    if found.metadata.deletion_timestamp is not None or found.metadata.labels.get(contract.LABEL_JOB) == job.name:
        said = f"{kind} {name} of a deleted job of the same name still exists; waiting until it is gone"
    else:
        said = f"{kind} {name} exists and is not this job's: delete it, or give the job another name"
    return Refusal(name, CONFLICT, reasons.NAME_TAKEN, said)


async def delete_this(api: Api, path: str, uid: str, *, propagation: str | None = None) -> bool:
    """Delete this very object (by uid); one that is gone is no error. Raises as `Api.request`.

    Returns:
        False where the API server knows no such kind: the object may be there, for nobody to reach.
    """
    options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
    if propagation:
        options["propagationPolicy"] = propagation
    try:
        await api.request("DELETE", path, encode(options))
    except ApiError as error:
        # Gone, or another object by that name: either way this one is no more.
        if error.code not in (NOT_FOUND, CONFLICT):
            raise
        return not unserved(error)
    return True


def unserved(error: ApiError) -> bool:
    """Whether it is the kind that was not found, and not the object."""
    return error.code == NOT_FOUND and not error.name


async def _bounded(work: Callable[[Any], Awaitable[T]], items: Sequence[Any], lanes: int) -> list[T]:
    """Run `work` on all items, `lanes` at a time. All are tried; then the first error is raised."""
    results: list[T] = []
    errors: list[ApiError | UnreachableError] = []
    waiting = iter(items)

    async def lane() -> None:
        for item in waiting:
            try:
                results.append(await work(item))
            except (ApiError, UnreachableError) as error:  # noqa: PERF203
                errors.append(error)

    await asyncio.gather(*(lane() for _ in range(min(lanes, len(items)))))
    if errors:
        raise errors[0]
    return results
