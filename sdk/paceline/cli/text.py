"""Small values as people read them on a terminal: those of `paceline.client.text`, and phases in their colours."""

from __future__ import annotations

from rich.text import Text

from paceline.api import TrainJob
from paceline.client.text import age, checkpoint, duration, metrics, number, parse_duration, workers

__all__ = ["age", "checkpoint", "duration", "metrics", "number", "parse_duration", "phase", "workers"]

PHASE_STYLES = {
    "Pending": "dim", "Suspended": "magenta", "Scheduling": "yellow", "Starting": "cyan", "Running": "blue",
    "Restarting": "yellow", "Succeeded": "green", "Failed": "bold red",
}  # fmt: skip


def phase(job: TrainJob) -> Text:
    """Return the phase in its colour; a job that is being deleted says so, as in kubectl."""
    if job.metadata.deletion_timestamp:
        return Text("Terminating", style="dim")
    return Text(job.status.phase, style=PHASE_STYLES[job.status.phase])
