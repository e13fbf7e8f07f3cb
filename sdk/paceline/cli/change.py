"""`submit`, `suspend`, `resume`, `delete`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from paceline.api import names
from paceline.cli import manifests
from paceline.cli.following import show_logs
from paceline.cli.session import Context, Kubeconfig, Name, Namespace, Session, say, session
from paceline.cli.verdict import Goal
from paceline.cli.waiting import wait_for
from paceline.client.connection import Object
from paceline.client.errors import NotFoundError, UsageError
from paceline.client.jobs import parse


def submit_command(
    file: Annotated[str, typer.Argument(help="Manifest, or - for standard input.", show_default=False)],
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until the job is over.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show rank 0's output until the job is over.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Have it checked by the API server alone.")] = False,
    namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None,
) -> None:  # fmt: skip
    """Check a manifest here, then create the job or change it (server-side apply)."""
    if wait and follow:
        raise UsageError("--wait and --follow both hold the terminal: choose one")
    bodies = manifests.read(_text(file), "standard input" if file == "-" else file)
    if (wait or follow) and len(bodies) > 1:
        raise UsageError(f"{file} holds {len(bodies)} jobs, and one can be followed: leave out --wait and --follow")
    here = session(kubeconfig, context, _namespace(bodies, namespace))
    for sentence in manifests.warnings(bodies):
        say(here.err, f"warning: {sentence}")
    jobs = [_submit(here, body, dry_run=dry_run) for body in bodies]
    if dry_run or not (wait or follow):
        return
    name = jobs[0]
    if follow:
        show_logs(here, name, rank=None, every=False, follow=True, attempt=None, tail=None)
    raise typer.Exit(wait_for(here, name, Goal.SUCCEEDED, None))


def suspend_command(
    name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None
) -> None:
    """End a job's pods after they saved; `resume` goes on from the latest checkpoint."""
    _set_suspend(session(kubeconfig, context, namespace), name, suspend=True)


def resume_command(
    name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None
) -> None:
    """Let a suspended job go on from its latest checkpoint."""
    _set_suspend(session(kubeconfig, context, namespace), name, suspend=False)


def delete_command(
    name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None
) -> None:
    """Delete a job and its pods; checkpoints and results in storage stay."""
    here = session(kubeconfig, context, namespace)
    here.cluster.delete(name)
    say(here.out, f"trainjob {name} deleted; what it stored stays")


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text(encoding="utf-8")
    except IsADirectoryError:
        raise UsageError(f"{file} is a directory: name a file in it, or use kubectl apply -k {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}") from None


def _namespace(bodies: list[Object], flag: str | None) -> str | None:
    """The namespace of the flag, else that of the manifest; they must not contradict each other."""
    written = {body["metadata"]["namespace"] for body in bodies if body["metadata"].get("namespace")}
    wanted = written | ({flag} if flag else set())
    if len(wanted) > 1:
        raise UsageError(f"the namespaces {', '.join(sorted(wanted))} contradict each other: submit each by itself")
    return next(iter(wanted), None)


def _submit(here: Session, body: Object, *, dry_run: bool) -> str:
    name = body["metadata"].get("name", "")
    before = _existing(here, name) if name else None
    if before is not None and parse(before).status.finished:
        phase = parse(before).status.phase
        raise UsageError(
            f"trainjob {name} is {phase}, and a finished job never starts again: give the new one another name, or "
            f"delete it first ({here.program} delete {name}). With the same storage path and name it goes on from the "
            "last checkpoint"
        )
    after = here.cluster.apply({**body, "apiVersion": names.API_VERSION}, dry_run=dry_run)
    made = str(after["metadata"]["name"])
    if before is None:
        done = "created"
    elif before["metadata"].get("generation") == after["metadata"].get("generation"):
        done = "unchanged"
    else:
        done = "configured"
    say(here.out, f"trainjob {made} {done} in namespace {here.cluster.namespace}{' (dry run)' if dry_run else ''}")
    return made


def _existing(here: Session, name: str) -> Object | None:
    try:
        return here.cluster.job(name)
    except NotFoundError:
        return None


def _set_suspend(here: Session, name: str, *, suspend: bool) -> None:
    job = here.job(name)
    if job.status.finished:
        raise UsageError(f"trainjob {name} is {job.status.phase}: it cannot be {'suspended' if suspend else 'resumed'}")
    here.cluster.set_suspend(name, suspend)
    say(here.out, f"trainjob {name} {'suspended' if suspend else 'resumed'}")
