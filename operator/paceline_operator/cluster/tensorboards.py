"""Makes the TensorBoard of a run. Nothing watches it: what is there already, by the answer `AlreadyExists`, is left."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from paceline.api import TrainJob, reasons
from paceline_operator.cluster.client import ApiError
from paceline_operator.cluster.executor import FORBIDDEN, Api, encode, refusal, taken
from paceline_operator.cluster.gate import Gate, Turn
from paceline_operator.cluster.memory import Remembered
from paceline_operator.planning import Note
from paceline_operator.policies.config import JobDefaults
from paceline_operator.policies.observed import Refusal
from paceline_operator.resources import tensorboard

AGAIN = timedelta(seconds=30)


class TensorBoards:
    """The TensorBoards of all jobs."""

    def __init__(self, api: Api, config: JobDefaults, gate: Gate) -> None:
        self._api = api
        self._config = config
        self._gate = gate

    async def make(self, known: Remembered, now: datetime) -> Note | None:
        """Make the one of a job; return what the user is to be told, if it is new: why it could not be made.

        Training needs none of it: a refusal is tried again after `AGAIN`, and nothing else waits.

        Raises:
            ApiError: The server failed (5xx).
            UnreachableError: No answer.
        """
        job = known.job
        for where, kind, manifest in (
            ("/apis/apps/v1", "deployments", tensorboard.deployment(job, self._config)),
            ("/api/v1", "services", tensorboard.service(job)),
        ):
            refused = await self._create(job, f"{where}/namespaces/{job.namespace}/{kind}", manifest)
            if refused is not None:
                known.tensorboard_again = now + AGAIN
                new, known.tensorboard_refused = refused.message != known.tensorboard_refused, refused.message
                return _note(refused) if new else None
        known.tensorboard_made, known.tensorboard_again = True, None
        return None

    async def _create(self, job: TrainJob, path: str, manifest: Mapping[str, Any]) -> Refusal | None:
        name = tensorboard.name(job)
        async with self._gate.pass_(Turn.SOON):
            try:
                await self._api.request("POST", path, encode(manifest))
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    return refusal(name, error)
            else:
                return None
            return taken(await self._api.request("GET", f"{path}/{name}"), job, manifest["kind"], name)


def _note(refused: Refusal) -> Note:
    why = f"TensorBoard {refused.name} was refused ({refused.code} {refused.reason}): {refused.message}"
    right = (
        "; the operator lacks the right: the chart gives it by tensorboard.enabled" if refused.code == FORBIDDEN else ""
    )
    return Note("Warning", reasons.TENSORBOARD_UNAVAILABLE, f"{why}{right}; it is tried again, and training goes on")
