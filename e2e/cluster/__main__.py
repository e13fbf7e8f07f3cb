"""The test bed's command line: `python -m e2e.cluster up`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from e2e.cluster import images, lifecycle, network, processes, state
from e2e.cluster.bed import Bed
from e2e.cluster.errors import BedError
from e2e.cluster.state import Options
from e2e.cluster.stores import StorageServer


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        result: int = options.run(options)
    except (BedError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return result


def _build(options: argparse.Namespace) -> int:
    lifecycle.build_everything(images.ALL if options.images else ())
    return 0


def _up(options: argparse.Namespace) -> int:
    kwok_nodes = options.kwok_nodes or (100 if options.kwok else 0)
    nodes = options.nodes if options.nodes is not None else (0 if options.kwok else 3)
    started = time.monotonic()
    bed = lifecycle.up(
        options.name, Options(nodes, options.gpus_per_node, kwok_nodes, options.s3, options.gcs, options.hdfs)
    )
    print(f"bed {bed.name} is up after {time.monotonic() - started:.1f} s: {nodes} nodes, {kwok_nodes} fake nodes")
    print(f"export KUBECONFIG={bed.kubeconfig}")
    return 0


def _down(options: argparse.Namespace) -> int:
    for name in state.names() if options.all else [options.name]:
        lifecycle.down(name)
        print(f"bed {name} is down")
    return 0


def _status(options: argparse.Namespace) -> int:
    for name in state.names():
        bed = lifecycle.running(name)
        if bed is None or not network.exists(bed.addresses):
            print(f"{name}: not up (left over: `python -m e2e.cluster down --name {name}`)")
            continue
        memory = processes.memory_bytes(processes.of_bed(name)) / 2**20
        health = "healthy" if bed.healthy() else "not healthy"
        print(f"{name}: {health}, nodes {' '.join(bed.node_names) or 'none'}, {memory:.0f} MiB, {bed.server}")
        print(f"  export KUBECONFIG={bed.kubeconfig}")
    return 0


def _load_image(options: argparse.Namespace) -> int:
    for tar in options.tar:
        print(*_bed(options).load_image(tar), sep="\n")
    return 0


def _add_node(options: argparse.Namespace) -> int:
    print(_bed(options).add_node())
    return 0


def _kill_node(options: argparse.Namespace) -> int:
    _bed(options).kill_node(options.node)
    return 0


def _start_node(options: argparse.Namespace) -> int:
    _bed(options).start_node(options.node)
    return 0


def _store(options: argparse.Namespace) -> int:
    server: StorageServer = getattr(_bed(options), options.store)
    if options.action != "env":
        getattr(server, options.action)()
    for key, value in server.environment.items():
        print(f"export {key}={value}")
    return 0


def _bed(options: argparse.Namespace) -> Bed:
    bed = lifecycle.running(options.name)
    if bed is None:
        raise BedError(f"bed {options.name} is not up: `python -m e2e.cluster up --name {options.name}`")
    return bed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default="paceline", help="which bed (default: %(default)s)")

    up = commands.add_parser("up", parents=[common], help="start a bed, or reuse the one that runs")
    up.add_argument("--nodes", type=int, help="real nodes (default: 3, with --kwok 0); 0: control plane only")
    up.add_argument("--gpus-per-node", type=int, default=4, help="nvidia.com/gpu of each node (default: %(default)s)")
    up.add_argument("--kwok", action="store_true", help="fake nodes in place of real ones, for scale")
    up.add_argument("--kwok-nodes", type=int, default=0, help="how many fake nodes (with --kwok: 100)")
    up.add_argument("--no-s3", dest="s3", action="store_false", help="no S3 server")
    up.add_argument("--gcs", action="store_true", help="a server of Google's storage API too")
    up.add_argument("--hdfs", action="store_true", help="an HDFS too (needs Java)")
    up.set_defaults(run=_up)

    make = commands.add_parser("build", help="build all programs and images ahead of time, without starting anything")
    make.add_argument("--no-images", dest="images", action="store_false", help="programs only")
    make.set_defaults(run=_build)

    down = commands.add_parser("down", parents=[common], help="end a bed and remove everything of it")
    down.add_argument("--all", action="store_true", help="all beds")
    down.set_defaults(run=_down)

    commands.add_parser("status", parents=[common], help="the beds of this machine").set_defaults(run=_status)

    load = commands.add_parser("load-image", parents=[common], help="make images of archives known to all nodes")
    load.add_argument("tar", type=Path, nargs="+")
    load.set_defaults(run=_load_image)

    commands.add_parser("add-node", parents=[common], help="add one node").set_defaults(run=_add_node)
    for name, run, text in (
        ("kill-node", _kill_node, "take the power from a node"),
        ("start-node", _start_node, "boot a killed node"),
    ):
        command = commands.add_parser(name, parents=[common], help=text)
        command.add_argument("node")
        command.set_defaults(run=run)

    for name in ("s3", "gcs", "hdfs"):
        store = commands.add_parser(
            name, parents=[common], help=f"the bed's {name} server; prints variables for a shell"
        )
        store.add_argument("action", choices=["env", "start", "stop", "restart"], nargs="?", default="env")
        store.set_defaults(run=_store, store=name)
    return parser


if __name__ == "__main__":
    sys.exit(main())
