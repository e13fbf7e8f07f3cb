"""The bed's network namespace: one link to the host, routes both ways. Deleting it deletes all inside."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from e2e.cluster.errors import BedError
from e2e.cluster.slots import Addresses

_UNPLUGGED = (("FORWARD", "-s"), ("FORWARD", "-d"), ("INPUT", "-s"))


def run(*command: str, check: bool = True, stdin: str | None = None) -> str:
    """Run a short command; its stderr is part of the error."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise BedError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def host_routes() -> list[str]:
    """Destinations of the host's routes without the default route."""
    routes = json.loads(run("ip", "-json", "-4", "route", "show", "table", "all"))
    return [r["dst"] for r in routes if r["dst"] != "default" and r.get("type", "unicast") == "unicast"]


def create(addresses: Addresses) -> None:
    """Make the namespace and connect it. The host's end of the link bears the namespace's name."""
    netns, prefix = addresses.netns, addresses.link_network.rpartition("/")[2]
    run("ip", "netns", "add", netns)
    run("ip", "link", "add", netns, "type", "veth", "peer", "name", "host0", "netns", netns)
    run("ip", "addr", "add", f"{addresses.host}/{prefix}", "dev", netns)
    run("ip", "link", "set", netns, "up")
    run("ip", "-n", netns, "addr", "add", f"{addresses.services}/{prefix}", "dev", "host0")
    run("ip", "-n", netns, "link", "set", "host0", "up")
    run("ip", "-n", netns, "link", "set", "lo", "up")
    run("ip", "-n", netns, "route", "add", "default", "via", addresses.host)
    # Both ways: tests on the host reach pods and services, pods reach servers that tests start.
    for network in (addresses.pod_network, addresses.service_network):
        run("ip", "route", "add", network, "via", addresses.services, "dev", netns)
    inside(addresses, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")


def add_address(addresses: Addresses, address: str) -> None:
    """Give the bed one more address on the link, for a node."""
    if f" {address}/" not in run("ip", "-n", addresses.netns, "addr", "show", "dev", "host0"):
        run("ip", "-n", addresses.netns, "addr", "add", f"{address}/24", "dev", "host0")


def remove_node(addresses: Addresses, address: str, bridge: str) -> None:
    """Take the address and the pods' bridge of a node away."""
    run("ip", "-n", addresses.netns, "addr", "del", f"{address}/24", "dev", "host0", check=False)
    run("ip", "-n", addresses.netns, "link", "del", bridge, check=False)


def inside(addresses: Addresses, *command: str, check: bool = True) -> str:
    """Run a command in the bed's network (the file system stays the host's)."""
    return run("nsenter", f"--net=/run/netns/{addresses.netns}", "--", *command, check=check)


def unplug(addresses: Addresses, pods: str) -> None:
    """Drop every packet from and to the pods of a node, until `plug`."""
    for chain, side in _UNPLUGGED:
        inside(addresses, "iptables", "-w", "-I", chain, side, pods, "-j", "DROP")


def plug(addresses: Addresses, pods: str) -> None:
    """Undo `unplug`, however often it was done."""
    for chain, side in _UNPLUGGED:
        rule = (chain, side, pods, "-j", "DROP")
        while f"-A {chain} {side} {pods} -j DROP" in inside(addresses, "iptables", "-w", "-S", chain):
            inside(addresses, "iptables", "-w", "-D", *rule)


def exists(addresses: Addresses) -> bool:
    """Whether the namespace is there."""
    return Path("/run/netns", addresses.netns).exists()


def pids(addresses: Addresses) -> list[int]:
    """Processes inside the bed's namespace."""
    if not exists(addresses):
        return []
    return [int(pid) for pid in run("ip", "netns", "pids", addresses.netns, check=False).split()]


def delete(addresses: Addresses) -> None:
    """Remove the link and the namespace, and with it bridges, routes and iptables rules."""
    run("ip", "link", "del", addresses.netns, check=False)
    run("ip", "netns", "del", addresses.netns, check=False)


def leftovers(addresses: Addresses) -> list[str]:
    """What of the bed's network is still there."""
    found = [f"network namespace {addresses.netns}"] if exists(addresses) else []
    if Path("/sys/class/net", addresses.netns).exists():
        found.append(f"network link {addresses.netns}")
    ours = set(addresses.networks)
    found += [f"route {route}" for route in host_routes() if route in ours]
    return found
