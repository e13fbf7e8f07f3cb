"""What every command shares: kubectl's flags, the terminal, the clock, and how a command ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.console import Console
from rich.text import Text

from paceline.api import TrainJob
from paceline.client.cluster import Cluster
from paceline.client.connection import Target, connect
from paceline.client.errors import INTERRUPTED
from paceline.client.jobs import parse

Name: TypeAlias = Annotated[str, typer.Argument(help="Name of the TrainJob.", show_default=False)]
_CLUSTER = "Cluster"
Namespace: TypeAlias = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace; default: the context's.", rich_help_panel=_CLUSTER),
]
Context: TypeAlias = Annotated[
    str | None,
    typer.Option("--context", help="Context of the kubeconfig.", rich_help_panel=_CLUSTER),
]
Kubeconfig: TypeAlias = Annotated[
    str | None,
    typer.Option("--kubeconfig", help="Path of the kubeconfig; default: as kubectl.", rich_help_panel=_CLUSTER),
]

# Where nothing wraps: output that goes to a file or a pipe keeps a row on a line.
PIPE_WIDTH = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a command."""

    cluster: Cluster
    out: Console
    err: Console
    program: str

    def job(self, name: str) -> TrainJob:
        """Return a job as it is now."""
        return parse(self.cluster.job(name))


def session(kubeconfig: str | None, context: str | None, namespace: str | None) -> Session:
    """Connect; the first thing that a command does."""
    cluster = Cluster(connect(Target(kubeconfig, context, namespace)))
    return Session(cluster, console(), console(stderr=True), program_name())


def console(*, stderr: bool = False) -> Console:
    """Return a console that wraps and colours on a terminal alone."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, emoji=False, width=None if stream.isatty() else PIPE_WIDTH)


def say(to: Console, message: str, style: str = "") -> None:
    """Print a sentence as it is: brackets in it are no markup."""
    to.print(Text(message, style=style), soft_wrap=True)


def now() -> datetime:
    """Return the time for ages."""
    return datetime.now(timezone.utc)


def program_name() -> str:
    """Return how the user called us: as a plugin of kubectl, or by our own name."""
    called = Path(sys.argv[0]).name
    return "kubectl paceline" if called.startswith("kubectl-paceline") else "paceline"


@contextmanager
def interruptible(session: Session, note: str) -> Iterator[None]:
    """Let Ctrl-C end a command that waits, with a note that the job itself goes on."""
    try:
        yield
    except KeyboardInterrupt:
        say(session.err, f"\n{note}" if note else "", "dim")
        raise typer.Exit(INTERRUPTED) from None
