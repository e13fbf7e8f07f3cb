"""TrainJobs that the API server accepts and this operator cannot read: the CRD is newer than the operator.

Such a job is not failed (a newer operator will run it): a condition and an event say what cannot be read, nothing is
created, and pods that it has are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from paceline.api import Condition, TrainJob, TrainJobSpec, reasons
from paceline.api.trainjob import ObjectMeta
from paceline_operator.planning import Note

CONDITION = reasons.INVALID_SPEC
MAX_ERRORS = 3


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One such job."""

    job: TrainJob
    """Its metadata; what stands in for the spec means nothing."""
    conditions: list[dict[str, Any]]
    message: str

    @property
    def resource_version(self) -> int:
        """Of the object."""
        return int(self.job.metadata.resource_version or 0)

    @property
    def note(self) -> Note:
        """The event for the user."""
        return Note("Warning", reasons.INVALID_SPEC, self.message)

    def patch(self, now: datetime) -> dict[str, Any] | None:
        """Return the merge patch of the status; None where it is on record already."""
        generation = self.job.metadata.generation
        old = next((found for found in self.conditions if found.get("type") == CONDITION), {})
        if (old.get("status"), old.get("message"), old.get("observedGeneration")) == ("True", self.message, generation):
            return None
        told = Condition(
            type=CONDITION,
            status="True",
            observed_generation=generation,
            last_transition_time=old.get("lastTransitionTime") if old.get("status") == "True" else now,
            reason=reasons.INVALID_SPEC,
            message=self.message,
        )
        others = [found for found in self.conditions if found.get("type") != CONDITION]
        return {"conditions": [*others, told.model_dump(mode="json", by_alias=True)]}


def read(body: dict[str, Any], error: ValidationError) -> Unreadable:
    """Return what can be said of a body that does not fit."""
    metadata = ObjectMeta.model_validate(body["metadata"])
    job = TrainJob(metadata=metadata, spec=TrainJobSpec(image="unread", command=["unread"]))
    found = (body.get("status") or {}).get("conditions") or []
    return Unreadable(job, [condition for condition in found if isinstance(condition, dict)], _sentence(error))


def _sentence(error: ValidationError) -> str:
    errors = error.errors(include_url=False)
    told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}, not {one['input']!r:.80}" for one in errors[:MAX_ERRORS]]
    more = f"; and {len(errors) - MAX_ERRORS} more" if len(errors) > MAX_ERRORS else ""
    return (
        f"this operator cannot read the job: {'; '.join(told)}{more}. Most likely the CRD is newer than the operator: "
        "upgrade the operator, which then takes the job up, or write what this version knows"
    )[:1024]
