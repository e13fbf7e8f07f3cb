"""`get` and `describe`."""

from __future__ import annotations

import json
import sys
import time
from enum import Enum
from typing import Annotated, Any

import typer
from rich.table import Table

from paceline.api import names
from paceline.cli import tables
from paceline.cli.description import Seen, describe
from paceline.cli.session import (
    PIPE_WIDTH,
    Context,
    Kubeconfig,
    Name,
    Namespace,
    Session,
    interruptible,
    now,
    say,
    session,
)
from paceline.client.connection import Object
from paceline.client.errors import UsageError
from paceline.client.jobs import parse

PAUSE_S = 1.0


class Output(str, Enum):
    """Forms of `get -o`."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def get_command(
    name: Annotated[str | None, typer.Argument(help="One job; default: all.", show_default=False)] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="Form of the output.")] = Output.TABLE,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Jobs of all namespaces.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on with a row for each change.")] = False,
    namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None,
) -> None:  # fmt: skip
    """List TrainJobs, or show one."""
    if name and everywhere:
        raise UsageError("a job of a given name is in one namespace: use -n instead of -A")
    if watch and output not in (Output.TABLE, Output.WIDE):
        raise UsageError(f"--watch shows a table: leave out -o {output.value}")
    here = session(kubeconfig, context, namespace)
    if name:
        bodies, version = [here.cluster.job(name)], ""
        version = bodies[0]["metadata"]["resourceVersion"]
    else:
        bodies, version = here.cluster.jobs(everywhere=everywhere)
    wide = output is Output.WIDE
    if output in (Output.TABLE, Output.WIDE):
        _table(here, bodies, everywhere=everywhere, wide=wide, steady=watch)
    else:
        _write(bodies, output, single=name is not None)
    if watch:
        with interruptible(here, ""):
            _watch(here, name or "", version, everywhere=everywhere, wide=wide)


def describe_command(
    name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None
) -> None:
    """Tell all about a job: state, what to do, workers, checkpoints, restarts, events, result."""
    here = session(kubeconfig, context, namespace)
    body = here.cluster.job(name)
    seen = Seen(parse(body), here.cluster.pods(name), here.cluster.events(body), now(), here.program)
    here.out.print(describe(seen))


def _table(here: Session, bodies: list[Object], *, everywhere: bool, wide: bool, steady: bool) -> None:
    if not bodies and not steady:
        where = "any namespace" if everywhere else f"namespace {here.cluster.namespace}"
        say(here.err, f"no TrainJobs in {where}")
        return
    jobs = [parse(body) for body in bodies]
    _print_table(here, tables.jobs(jobs, now(), namespaces=everywhere, wide=wide, steady=steady))


def _write(bodies: list[Object], output: Output, *, single: bool) -> None:
    for body in bodies:
        body["metadata"].pop("managedFields", None)
    if output is Output.NAME:
        for body in bodies:
            print(f"{names.SINGULAR}.{names.GROUP}/{body['metadata']['name']}")
        return
    whole: Any = bodies[0] if single else {"apiVersion": "v1", "kind": "List", "items": bodies}
    if output is Output.JSON:
        print(json.dumps(whole, indent=2))
        return
    import yaml

    yaml.safe_dump(whole, sys.stdout, sort_keys=False, allow_unicode=True)


def _watch(here: Session, name: str, version: str, *, everywhere: bool, wide: bool) -> None:
    """Print a row for each change, until Ctrl-C."""
    shown: dict[str, str] = {}
    while True:
        for event in here.cluster.watch(name=name, everywhere=everywhere, since=version, seconds=3600):
            body = event["object"]
            version = body["metadata"]["resourceVersion"]
            shown[body["metadata"]["uid"]] = version
            _row(here, body, deleted=event["type"] == "DELETED", everywhere=everywhere, wide=wide)
        time.sleep(PAUSE_S)
        # The stream has ended: whatever changed meanwhile is seen by a fresh look.
        bodies, version = here.cluster.jobs(everywhere=everywhere)
        for body in bodies:
            mine = not name or body["metadata"]["name"] == name
            if mine and shown.get(body["metadata"]["uid"], version) != body["metadata"]["resourceVersion"]:
                shown[body["metadata"]["uid"]] = body["metadata"]["resourceVersion"]
                _row(here, body, deleted=False, everywhere=everywhere, wide=wide)


def _row(here: Session, body: Object, *, deleted: bool, everywhere: bool, wide: bool) -> None:
    if deleted:
        say(here.out, f"{body['metadata']['name']} was deleted", "dim")
        return
    row = tables.jobs([parse(body)], now(), namespaces=everywhere, wide=wide, header=False, steady=True)
    _print_table(here, row)


def _print_table(here: Session, table: Table) -> None:
    # Long rows go over the edge of the terminal, as kubectl's do: a name or URI that is cut serves nobody.
    here.out.print(table, width=PIPE_WIDTH, crop=False)
