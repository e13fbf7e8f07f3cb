"""Files that make one node: containerd's, the kubelet's and CNI's configuration. Pure rendering."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster import cgroups, paths
from e2e.cluster.slots import Addresses

PAUSE_IMAGE = "docker.io/paceline/pause:1"
LEASE_S = 12


@dataclass(frozen=True, slots=True)
class NodeLayout:
    """Names, addresses and folders of one node, all of them derived."""

    bed: str
    name: str
    index: int
    addresses: Addresses

    @property
    def address(self) -> str:
        """InternalIP."""
        return self.addresses.node(self.index)

    @property
    def folder(self) -> Path:
        """What survives a reboot of the node."""
        return paths.bed_dir(self.bed) / "nodes" / self.name

    @property
    def run(self) -> Path:
        """What a reboot would lose: sockets, mounts of running containers."""
        return paths.run_dir(self.bed) / self.name

    @property
    def socket(self) -> Path:
        """containerd's socket."""
        return self.run / "containerd.sock"

    @property
    def containerd_root(self) -> Path:
        """Image content and snapshots."""
        return self.folder / "containerd"

    @property
    def cgroup(self) -> str:
        """The kubelet's cgroupRoot."""
        return cgroups.node_group(self.bed, self.name)

    @property
    def bridge(self) -> str:
        """The bridge of this node's pods."""
        return f"plbr{self.index}"


def containerd_toml(node: NodeLayout, *, cni_bin: str, runc: str) -> str:
    """containerd's configuration."""
    cri = "io.containerd.cri.v1"
    return f"""\
version = 3
root = "{node.containerd_root}"
state = "{node.run}/state"
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs",
]

[grpc]
  address = "{node.socket}"

[plugins.'{cri}.images']
  snapshotter = "overlayfs"
[plugins.'{cri}.images'.pinned_images]
  sandbox = "{PAUSE_IMAGE}"

[plugins.'{cri}.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins.'{cri}.runtime'.cni]
  bin_dirs = ["{cni_bin}"]
  conf_dir = "{node.folder}/cni"
  use_internal_loopback = true
[plugins.'{cri}.runtime'.containerd]
  default_runtime_name = "runc"
[plugins.'{cri}.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'{cri}.runtime'.containerd.runtimes.runc.options]
  BinaryName = "{runc}"
  Root = "{node.run}/runc"
  SystemdCgroup = false
"""


def cni_network(bed: str) -> str:
    """Name of the bed's pod network. CNI keeps files by it, so it must tell beds apart."""
    return f"paceline.{bed}"


def cni_conflist(node: NodeLayout) -> str:
    """The pod network of one node: a bridge, addresses from the node's own range."""
    bridge = {
        "type": "bridge",
        "bridge": node.bridge,
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": f"{node.run}/ipam",
            "ranges": [[{"subnet": node.addresses.node_pods(node.index)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": cni_network(node.bed), "plugins": [bridge, portmap]}, indent=1)


def kubelet_config(node: NodeLayout, *, ca: Path, crt: Path, key: Path, taint: str = "") -> dict[str, Any]:
    """The kubelet's configuration: everything that two kubelets of one machine must not share is set."""
    return {
        "registerWithTaints": [{"key": taint, "effect": "NoSchedule"}] if taint else [],
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "port": 10250,
        "readOnlyPort": 0,
        "healthzPort": 0,
        "tlsCertFile": str(crt),
        "tlsPrivateKeyFile": str(key),
        "authentication": {"x509": {"clientCAFile": str(ca)}, "anonymous": {"enabled": False}},
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "clusterDomain": "cluster.local",
        "clusterDNS": [node.addresses.services],
        "resolvConf": str(node.folder / "resolv.conf"),
        "podLogsDir": str(node.folder / "pod-logs"),
        "volumePluginDir": str(node.folder / "volume-plugins"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": node.cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        # The kubelet may not have the capability to lower it.
        "oomScoreAdj": 0,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "4s",
        # Upstream's default, which holds only where the one above is not set. That a node lives, its lease tells.
        "nodeStatusReportFrequency": "5m",
        "nodeLeaseDurationSeconds": LEASE_S,
        "maxPods": 110,
        "eventRecordQPS": 50,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }
