"""`paceline checkpoints`: what a run has stored, whether it is whole, and bringing it here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from paceline import _contract as c
from paceline.agent.commits import Commit, directory_name, read_commit
from paceline.cli import checkpoint_check, checkpoint_fetch, checkpoint_list, checkpoint_place
from paceline.cli.checkpoint_list import LATEST, Row
from paceline.cli.checkpoint_place import Place
from paceline.cli.session import PIPE_WIDTH, Context, Kubeconfig, Namespace, console, say, session
from paceline.client.errors import INTERRUPTED, DamagedError, NotFoundError, StoreError, UsageError
from paceline.policy.retention import Order, Retention
from paceline.storage import StorageError
from paceline.train import _run_directory
from paceline.train._location import Location

# A person waits: an unreachable store is told soon.
PATIENCE_S = 10.0


class Verify(str, Enum):
    """How closely `--verify` looks."""

    SIZES = "sizes"
    FULL = "full"


class Form(str, Enum):
    """Forms of `-o`."""

    TABLE = "table"
    JSON = "json"


class ScoreOrder(str, Enum):
    """Which score is best."""

    MIN = "min"
    MAX = "max"


Where = Annotated[
    str,
    typer.Argument(metavar="JOB|URI", help="A TrainJob, or a run's directory: needs no cluster.", show_default=False),
]  # fmt: skip


def checkpoints_command(
    where: Where,
    output: Annotated[Form, typer.Option("--output", "-o", help="Form of the list.")] = Form.TABLE,
    verify: Annotated[Verify | None, typer.Option("--verify", help="Compare with the commits: sizes by a listing (alone, or =sizes), or every byte (=full).", show_default=False)] = None,  # noqa: E501
    download: Annotated[Path | None, typer.Option("--download", metavar="DIR", help="Bring a checkpoint's files into this directory.", show_default=False)] = None,  # noqa: E501
    which: Annotated[str | None, typer.Option("--checkpoint", metavar="latest|best|N", help="One checkpoint: a number or a name too; for --download: latest.", show_default=False)] = None,  # noqa: E501
    score: Annotated[str | None, typer.Option("--score", metavar="METRIC", help="What best means; default: the job's scoreAttribute.", show_default=False)] = None,  # noqa: E501
    order: Annotated[ScoreOrder | None, typer.Option("--order", help="Which score is best; default: max.", show_default=False)] = None,  # noqa: E501
    namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None,
) -> None:  # fmt: skip
    """List, verify or download a run's checkpoints, with your own credentials for its storage."""
    if download is not None and (verify or output is Form.JSON):
        raise UsageError("--download checks what it brings, and lists nothing: leave out --verify and -o")
    if order and not score:
        raise UsageError("--order says which score is best: give --score METRIC too")
    if checkpoint_place.is_uri(where):
        place = checkpoint_place.of_uri(where)
    else:
        here = session(kubeconfig, context, namespace)
        place = checkpoint_place.of_job(here.job(where))
    by = Retention(score_attribute=score, score_order=_order(order)) if score else place.score
    out, err = console(), console(stderr=True)
    with _told(place, err, resumable=download is not None):
        found, damaged = _committed(place)
        for name, said in damaged.items():
            if which and (name == which or (which.isdigit() and name == directory_name(int(which)))):
                raise DamagedError(said)
            say(err, said, "red")
        shown = checkpoint_list.rows(found, by)
        if download is not None:
            _download(err, checkpoint_list.choose(shown, which or LATEST, by), download)
            return
        if which is not None:
            shown, damaged = [checkpoint_list.choose(shown, which, by)], {}
        if verify is not None:
            shown = _verified(err, shown, verify)
        _list(out, err, place, shown, output, damaged, whole=which is None)
    _judge(err, shown, damaged, verify)


def bare_verify(args: list[str]) -> list[str]:
    """`--verify` alone means sizes: the parser knows options with a value and without, none that may have one."""
    if not args or args[0] != "checkpoints":
        return args
    return [f"--verify={Verify.SIZES.value}" if arg == "--verify" else arg for arg in args]


def _order(order: ScoreOrder | None) -> Order:
    return "min" if order is ScoreOrder.MIN else "max"


def _committed(place: Place) -> tuple[list[tuple[Location, Commit]], dict[str, str]]:
    """Of a run's directory all, of a checkpoint's itself; and the directories whose commit is damaged, with how."""
    location = place.location
    damaged: dict[str, str] = {}
    found = _run_directory.checkpoints(location, damaged=damaged, patience_s=PATIENCE_S)
    if found or damaged:
        return found, damaged
    if own := read_commit(location.storage, location.path):
        return [(location, own)], {}
    if place.job and place.job.status.checkpoint and location.is_local:
        # This machine has a directory of that name, and it is not the pods'.
        raise NotFoundError(checkpoint_place.unseen(place.job, location.path))
    if place.job and place.job.status.checkpoint and place.is_guess:
        raise NotFoundError(checkpoint_place.untold(place.job, place.job.status.checkpoint))
    # A job that has just begun has not written anything yet.
    if place.job is None and not _run_directory.exists(location):
        raise NotFoundError(_run_directory.no_run(location))
    return [], {}


def _download(err: Console, row: Row, directory: Path) -> None:
    name = row.commit.directory
    with checkpoint_fetch.bar(err, f"{name} -> {directory}") as progress:
        fetched = checkpoint_fetch.fetch(row, directory, progress)
    already = len(row.commit.lasting_files) - fetched
    kept = f", {already} were there already" if already > 0 else ""
    say(console(), f"{name} (step {row.commit.step}) is in {directory}: {fetched} files fetched{kept}, "
                   f"{checkpoint_list.size(progress.bytes_done)}, checked")  # fmt: skip


def _verified(err: Console, shown: Sequence[Row], verify: Verify) -> list[Row]:
    if verify is Verify.SIZES:
        return checkpoint_check.sizes(shown)
    with checkpoint_fetch.bar(err, "verifying") as progress:
        return checkpoint_check.contents(shown, progress)


def _list(
    out: Console, err: Console, place: Place, shown: Sequence[Row], output: Form, damaged: Mapping[str, str], *,
    whole: bool,
) -> None:  # fmt: skip
    pending = _uncommitted(place, shown, damaged) if whole else []
    if output is Form.JSON:
        print(json.dumps(checkpoint_list.told(place.location, shown, damaged, pending), indent=2))
        return
    if shown or damaged:
        # Long rows go over the edge of the terminal: a name that is cut serves nobody.
        out.width = PIPE_WIDTH
        out.print(checkpoint_list.table(shown, damaged), crop=False)
    else:
        say(err, f"no committed checkpoints in {place.location.uri}")
    if pending:
        say(err, f"not committed, so no checkpoints: {', '.join(pending)} (on their way, or left by a crash and removed"
                 " by the next attempt)", "dim")  # fmt: skip


def _uncommitted(place: Place, shown: Sequence[Row], damaged: Mapping[str, str]) -> list[str]:
    known = {row.commit.directory for row in shown} | damaged.keys()
    names = place.location.storage.directories(place.location.path)
    return [name for name in names if name.startswith(c.CHECKPOINT_PREFIX) and name not in known]


def _judge(err: Console, shown: Sequence[Row], illegible: Mapping[str, str], verify: Verify | None) -> None:
    """Say what is damaged, and end with a code that a script sees."""
    damaged = [row for row in shown if row.damage]
    for row in damaged:
        for said in row.damage or ():
            say(err, f"{row.commit.directory}: {said}", "red")
    if damaged or illegible:
        whole = [row for row in shown if not row.damage]
        newest = f"the newest whole one is {whole[-1].commit.directory}" if whole else "none is whole"
        told = f"; {newest}" if verify else ""  # without a check nobody knows
        raise DamagedError(
            f"{len(damaged) + len(illegible)} of {len(shown) + len(illegible)} checkpoints are damaged{told}"
        )
    if verify is None:
        return
    looked = "sizes and checksums" if verify is Verify.FULL else "names and sizes"
    say(err, f"{len(shown)} checkpoints are whole ({looked})", "green")


@contextmanager
def _told(place: Place, err: Console, *, resumable: bool) -> Iterator[None]:
    """Errors of the store and of the disk as sentences, and Ctrl-C as its code."""
    try:
        yield
    except StorageError as error:
        raise StoreError(f"{error}{_hint(place)}") from error
    except OSError as error:
        raise StoreError(f"this machine: {error}") from error
    except KeyboardInterrupt:
        say(err, "\nwhat has arrived stays: the same command goes on from there" if resumable else "", "dim")
        raise typer.Exit(INTERRUPTED) from None


def _hint(place: Place) -> str:
    if place.job is None:
        return ""
    said = "\nThe store was asked with your own credentials, not with the job's."
    if "endpoint_override=" in place.location.uri:
        said += (
            " Its address (endpoint_override) may be known inside the cluster alone: forward it (kubectl port-forward)"
            " and give the URI with the address here instead of the job's name."
        )
    return said
