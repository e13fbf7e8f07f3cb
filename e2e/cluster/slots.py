"""A bed's name decides its addresses: pure arithmetic on a slot number.

Each bed lives in a network namespace of its own, so ports never clash and everything can keep its
usual port. What must differ between beds are the address ranges, which the host can route to.
"""

from __future__ import annotations

import ipaddress
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from e2e.cluster.errors import BedError

SLOTS = 16
MAX_NODES = 50
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")


class NoFreeSlotError(BedError):
    """All address ranges are taken."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """All addresses and names of one bed."""

    slot: int

    @property
    def netns(self) -> str:
        """Network namespace, and the host's end of the link into it."""
        return f"plbed{self.slot}"

    @property
    def link_network(self) -> str:
        """The link between host and bed; the bed's own services and the nodes live here."""
        return f"10.200.{self.slot}.0/24"

    @property
    def host(self) -> str:
        """The host as pods see it: a server of a test that listens here can be reached from pods."""
        return f"10.200.{self.slot}.1"

    @property
    def services(self) -> str:
        """Where API server, DNS and S3 listen, for host and pods alike."""
        return f"10.200.{self.slot}.2"

    @property
    def pod_network(self) -> str:
        """All pods of the bed."""
        return f"10.{201 + self.slot}.0.0/16"

    @property
    def service_network(self) -> str:
        """ClusterIPs."""
        return f"10.{221 + self.slot}.0.0/16"

    @property
    def kubernetes_service(self) -> str:
        """ClusterIP of the API server."""
        return f"10.{221 + self.slot}.0.1"

    def node(self, index: int) -> str:
        """InternalIP of node `index` (from 1)."""
        return f"10.200.{self.slot}.{10 + index}"

    def node_pods(self, index: int) -> str:
        """Pods of node `index` (from 1)."""
        return f"10.{201 + self.slot}.{index}.0/24"

    @property
    def networks(self) -> tuple[str, str, str]:
        """Every range that must be free on the host."""
        return self.link_network, self.pod_network, self.service_network


def check_name(name: str) -> None:
    """Refuse a name that cannot be part of cgroup, file and node names."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"bed name {name!r}: use 1 to 40 lower-case letters, digits and dashes")


def choose(name: str, taken: Iterable[int], routes: Iterable[str]) -> Addresses:
    """The slot for a new bed: its name's own, or the next one that no bed has and no host route overlaps.

    Args:
        name: The bed's name.
        taken: Slots of other beds.
        routes: Destinations of the host's routes, the default route left out.
    """
    others = set(taken)
    networks = [ipaddress.ip_network(route, strict=False) for route in routes]
    first = zlib.crc32(name.encode()) % SLOTS
    for step in range(SLOTS):
        slot = (first + step) % SLOTS
        if slot not in others and not _overlaps(Addresses(slot), networks):
            return Addresses(slot)
    raise NoFreeSlotError(
        f"all {SLOTS} address ranges for beds are taken by other beds or routes: see `ip route`, "
        "and end beds you no longer need with `python -m e2e.cluster down --name NAME`"
    )


def _overlaps(addresses: Addresses, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    ours = [ipaddress.IPv4Network(network) for network in addresses.networks]
    return any(isinstance(net, ipaddress.IPv4Network) and net.overlaps(our) for net in networks for our in ours)
