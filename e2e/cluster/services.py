"""What a cluster with real nodes has beside the control plane: CoreDNS and kube-proxy, as plain processes."""

from __future__ import annotations

from typing import Any

import yaml

from e2e.cluster import build
from e2e.cluster.components import COREDNS, KUBE_PROXY
from e2e.cluster.controlplane import ControlPlane
from e2e.cluster.slots import Addresses


def corefile(addresses: Addresses, kubeconfig: str) -> str:
    """CoreDNS's configuration. No cache: a worker that just started must be found at once, not after a TTL."""
    return f"""\
cluster.local in-addr.arpa ip6.arpa {{
    bind {addresses.services}
    errors
    health 127.0.0.1:8080
    ready 127.0.0.1:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 1
    }}
}}
. {{
    bind {addresses.services}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def coredns(plane: ControlPlane) -> list[str]:
    """CoreDNS's command line. It listens on the bed's service address, port 53."""
    client = plane.authority.kubeconfig("coredns", plane.server, "coredns", groups=["system:masters"])
    path = plane.state / "Corefile"
    path.write_text(corefile(plane.addresses, str(client)))
    return [build.program(COREDNS), "-conf", str(path)]


def proxy_config(addresses: Addresses, kubeconfig: str) -> dict[str, Any]:
    """kube-proxy's configuration: one process serves all nodes, since they share the bed's network."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": addresses.pod_network,
        "clientConnection": {"kubeconfig": kubeconfig},
        "bindAddress": addresses.services,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # These sysctls belong to the machine and cannot be written from a network namespace.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
            "udpTimeout": "0s",
            "udpStreamTimeout": "0s",
        },
        "iptables": {"minSyncPeriod": "100ms"},
    }


def kube_proxy(plane: ControlPlane, node: str) -> list[str]:
    """kube-proxy's command line. `node`: any node of the bed, in whose name it runs."""
    client = plane.authority.kubeconfig("kube-proxy", plane.server, "system:kube-proxy")
    path = plane.state / "kube-proxy.yaml"
    path.write_text(yaml.safe_dump(proxy_config(plane.addresses, str(client)), sort_keys=False))
    return [build.program(KUBE_PROXY), f"--config={path}", f"--hostname-override={node}"]
