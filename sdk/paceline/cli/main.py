"""`paceline` and `kubectl paceline`: the commands, and the one place where errors become messages."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from paceline.cli import change, checkpoints, secrets, show
from paceline.cli.following import show_logs
from paceline.cli.session import Context, Kubeconfig, Name, Namespace, console, program_name, say, session
from paceline.cli.text import parse_duration
from paceline.cli.verdict import Goal
from paceline.cli.waiting import wait_for
from paceline.client.errors import EXIT_CODES, ClientError, UsageError

CLUSTER_FLAGS = frozenset({"-n", "--namespace", "--context", "--kubeconfig"})

app = typer.Typer(
    help="Train models on Kubernetes: see, follow, submit and stop TrainJobs.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.command("get")(show.get_command)
app.command("describe")(show.describe_command)


@app.command("logs")
def logs_command(
    name: Name,
    rank: Annotated[int | None, typer.Option("--rank", help="Rank to read; default: 0.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All pods, each line with its pod's name.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, over restarts, to the job's end.")] = False,
    attempt: Annotated[int | None, typer.Option("--attempt", help="Attempt; default: the newest.", show_default=False)] = None,  # noqa: E501
    tail: Annotated[int | None, typer.Option("--tail", help="Last lines of each pod alone.", min=0, show_default=False)] = None,  # noqa: E501
    namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None,
) -> None:  # fmt: skip
    """Show what the workers write."""
    if every and rank is not None:
        raise UsageError("--all reads every rank: leave out --rank")
    here = session(kubeconfig, context, namespace)
    show_logs(here, name, rank=rank, every=every, follow=follow, attempt=attempt, tail=tail)


@app.command("wait")
def wait_command(
    name: Name,
    goal: Annotated[Goal, typer.Option("--for", help="What to wait for.")] = Goal.SUCCEEDED,
    timeout: Annotated[str | None, typer.Option("--timeout", help="Such as 90s, 15m, 1h30m; default: none.", show_default=False)] = None,  # noqa: E501
    namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None,
) -> None:  # fmt: skip
    """Show progress until the job gets there. Exit code 0: it did; 1: the job failed; 4: too late."""
    try:
        timeout_s = None if timeout is None else parse_duration(timeout)
    except ValueError as error:
        raise UsageError(f"--timeout: {error}") from None
    here = session(kubeconfig, context, namespace)
    raise typer.Exit(wait_for(here, name, goal, timeout_s))


app.command("checkpoints")(checkpoints.checkpoints_command)
app.command("submit")(change.submit_command)
app.command("suspend")(change.suspend_command)
app.command("resume")(change.resume_command)
app.command("delete")(change.delete_command)
app.command("secrets")(secrets.secrets_command)


@app.command("version")
def version_command() -> None:
    """Show the version of this program."""
    from importlib.metadata import version

    print(f"paceline {version('paceline')}")


def run() -> None:
    """Entry point: run the command, exit with its code."""
    try:
        app(args=checkpoints.bare_verify(flags_last(sys.argv[1:])), prog_name=program_name())
    except ClientError as error:
        say(console(stderr=True), f"error: {error}", "red")
        sys.exit(error.exit_code)


def flags_last(args: list[str]) -> list[str]:
    """Move kubectl's flags that stand before the command behind it, where the command takes them."""
    flags: list[str] = []
    rest = list(args)
    while rest and rest[0].partition("=")[0] in CLUSTER_FLAGS:
        count = 1 if "=" in rest[0] else 2
        flags, rest = flags + rest[:count], rest[count:]
    return [*rest[:1], *flags, *rest[1:]] if rest else flags


if __name__ == "__main__":
    run()
