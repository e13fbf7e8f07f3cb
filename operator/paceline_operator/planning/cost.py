"""What has the end of the last attempt cost? It goes on record before all is known, and is corrected by those who know.

On record at first is the lead's newest answer, which is up to a poll old, or nothing. The lead's last word comes a
moment later: how far rank 0 was, and what was committed while the group ended. Where the job went on from is the next
lead's to tell.
"""

from __future__ import annotations

from collections.abc import Sequence

from paceline.api import FailureRecord, TrainJobStatus
from paceline_operator.policies import reports
from paceline_operator.policies.observed import AgentReport, PodSeen


def last_word(pods: Sequence[PodSeen]) -> AgentReport | None:
    """Return what the lead among the pods of an attempt told when it ended."""
    lead = next((pod for pod in pods if pod.index == 0 and pod.exit_message), None)
    return reports.read(lead.exit_message) if lead else None


def corrected(status: TrainJobStatus, before: Sequence[PodSeen], report: AgentReport | None) -> TrainJobStatus:
    """Return the status with the newest record as the leads tell it.

    Args:
        status: On record; `report` is not in it yet.
        before: The pods of the attempt before the current one.
        report: The newest answer of the current attempt's lead.
    """
    record = status.history[-1] if status.history else None
    # After a suspension the record before it is about another attempt than the one that was resumed.
    if record is None or record.attempt != status.attempt - 1:
        return status
    last = last_word(before)
    index, step = _went_on_from(status, record, last, report)
    # Counted from another checkpoint it would be another number.
    lost = record.lost_steps if index == record.resumed_from else None
    reached = _reached(status, record, last)
    if reached is not None and step is not None:
        lost = max(0, reached - step)
    checkpoint = status.checkpoint
    if last is not None and last.checkpoint is not None and index == last.checkpoint.index:
        newer = checkpoint is None or checkpoint.index < index
        checkpoint = last.checkpoint if newer else checkpoint
    told = record.model_copy(update={"resumed_from": index, "lost_steps": lost})
    if told == record and checkpoint == status.checkpoint:
        return status
    return status.model_copy(update={"checkpoint": checkpoint, "history": [*status.history[:-1], told]})


def _went_on_from(
    status: TrainJobStatus, record: FailureRecord, last: AgentReport | None, report: AgentReport | None
) -> tuple[int | None, int | None]:
    """Return number and step of the checkpoint from which the job went on; None for a step that is not known."""
    index, stored = record.resumed_from, last.checkpoint if last else None
    if report is not None and report.resumed_index is not None:
        return report.resumed_index, report.resumed_step
    if stored is not None and (index is None or stored.index >= index):
        return stored.index, stored.step
    if last is not None and index is None:
        # What the run began with is not its own.
        return None, last.resumed_step or 0
    return index, _step(status, index)


def _reached(status: TrainJobStatus, record: FailureRecord, last: AgentReport | None) -> int | None:
    """Return the last step that rank 0 reported in that attempt; None where it is not known."""
    if last is not None and last.progress is not None and last.progress.step is not None:
        return last.progress.step
    counted_from = 0 if record.resumed_from is None else _step(status, record.resumed_from)
    return None if record.lost_steps is None or counted_from is None else counted_from + record.lost_steps


def _step(status: TrainJobStatus, index: int | None) -> int | None:
    known = status.checkpoint
    return known.step if known is not None and known.index == index else None
