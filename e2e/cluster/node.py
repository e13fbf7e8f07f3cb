"""One real node: containerd and kubelet with their own files, addresses and cgroup, in the bed's network."""

from __future__ import annotations

import calendar
import os
import shutil
import subprocess
import time
from pathlib import Path

import yaml

from e2e.cluster import build, cgroups, cleanup, network, processes
from e2e.cluster.api import Api, ApiError
from e2e.cluster.components import CNI, CONTAINERD, KUBELET
from e2e.cluster.controlplane import ControlPlane
from e2e.cluster.errors import BedError
from e2e.cluster.nodeconfig import NodeLayout, cni_conflist, containerd_toml, kubelet_config
from e2e.cluster.processes import BedProcess

READY_TIMEOUT_S = 90.0
KUBELET_STARTS = 5
# The path is compiled into the kubelet, so all kubelets of the machine share it. Each removes what lies there and then
# listens: one of two that start at once may find the other's socket, and ends.
_LOST_RACE = "device-plugins/kubelet.sock: bind: address already in use"
_JSON_PATCH = "application/json-patch+json"


class Node:
    """Starts, kills and starts again one node."""

    def __init__(self, layout: NodeLayout, plane: ControlPlane, api: Api, gpus: int, taint: str = "") -> None:
        self.layout = layout
        self._taint = taint
        self._plane = plane
        self._api = api
        self._gpus = gpus
        netns = layout.addresses.netns
        self.containerd = BedProcess(
            layout.bed, f"{layout.name}-containerd", plane.state, netns=netns, ready=self._containerd_answers
        )
        self.kubelet = BedProcess(layout.bed, f"{layout.name}-kubelet", plane.state, netns=netns)

    def start_containerd(self) -> None:
        """Start containerd and return when it takes images."""
        layout = self.layout
        for folder in (layout.folder / "cni", layout.folder / "pod-logs", layout.run, layout.containerd_root):
            folder.mkdir(parents=True, exist_ok=True)
        runc = shutil.which("runc") or "runc"
        config = layout.folder / "containerd.toml"
        config.write_text(containerd_toml(layout, cni_bin=str(build.folder(CNI)), runc=runc))
        (layout.folder / "cni" / "10-bed.conflist").write_text(cni_conflist(layout))
        path = f"{build.folder(CONTAINERD)}:{os.environ['PATH']}"
        command = [build.program(CONTAINERD), "--config", str(config), "--log-level", "warn"]
        self.containerd.start(command, {"PATH": path})
        self.containerd.wait_ready()

    def start_kubelet(self) -> None:
        """Start the kubelet; `wait_ready` waits for it."""
        layout, authority = self.layout, self._plane.authority
        network.add_address(layout.addresses, layout.address)
        cgroups.create(layout.cgroup)
        (layout.folder / "resolv.conf").write_text("# no name server outside of the bed\n")
        crt, key = authority.issue(f"{layout.name}-server", layout.name, hosts=[layout.name, layout.address])
        client = authority.kubeconfig(
            f"{layout.name}-kubelet", self._plane.server, f"system:node:{layout.name}", groups=["system:nodes"]
        )
        config = layout.folder / "kubelet.yaml"
        rendered = kubelet_config(layout, ca=authority.certificate, crt=crt, key=key, taint=self._taint)
        config.write_text(yaml.safe_dump(rendered, sort_keys=False))
        self.kubelet.start(
            [
                build.program(KUBELET),
                f"--config={config}",
                f"--kubeconfig={client}",
                f"--root-dir={layout.folder / 'kubelet'}",
                f"--hostname-override={layout.name}",
                f"--node-ip={layout.address}",
                "--v=1",
            ]
        )

    def load(self, store: Path, images: Path) -> None:
        """Register the images of a list that `imageload unpack` wrote."""
        command = [build.program(CONTAINERD, "imageload"), "load", "-store", str(store), "-list", str(images)]
        command += ["-address", str(self.layout.socket), "-root", str(self.layout.containerd_root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BedError(f"{self.layout.name}: {done.stderr.strip()}")

    def wait_ready(self, since: float = 0.0, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return when the node is Ready and shows its GPUs.

        Args:
            since: Time (epoch) after which the kubelet must have reported, for a node that existed before.
            timeout_s: Limit, after which it says where the kubelet's log is.
        """
        deadline = time.monotonic() + timeout_s
        starts = 1
        while not self.is_ready(since):
            if self.kubelet.pid is None:
                end = processes.tail(self.kubelet.log)
                if _LOST_RACE not in end or starts == KUBELET_STARTS:
                    raise BedError(f"kubelet of {self.layout.name} ended: {end}")
                self.kubelet.restart()
                starts += 1
            if time.monotonic() > deadline:
                raise BedError(f"{self.layout.name} not ready after {timeout_s:.0f} s: see {self.kubelet.log}")
            time.sleep(0.1)

    def kill(self, *, containers: bool = True) -> None:
        """Kill kubelet, containerd and shims at once, as a machine that loses power.

        With `containers=False` the containers run on, unattended, as on a node that lost only its network to the
        API server.
        """
        pids = [pid for process in (self.kubelet, self.containerd) if (pid := process.pid) is not None]
        pids += self._shims()
        if containers:
            pids += cgroups.pids(self.layout.cgroup)
        processes.end(pids)

    def forget_running(self) -> None:
        """What a reboot does: containers end, their mounts and the files about them are gone, images stay."""
        while pids := [*cgroups.pids(self.layout.cgroup), *self._shims()]:
            processes.end(pids)
        for socket in cleanup.shim_sockets(self.layout.run):
            socket.unlink(missing_ok=True)
        cleanup.unmount_below(self.layout.run)
        shutil.rmtree(self.layout.run, ignore_errors=True)

    def remove(self) -> None:
        """End it for good: no process, mount, cgroup, address or file of it stays."""
        layout = self.layout
        self.kill()
        self.forget_running()
        cgroups.remove(layout.cgroup)
        network.plug(layout.addresses, layout.addresses.node_pods(layout.index))
        network.remove_node(layout.addresses, layout.address, layout.bridge)
        for link in cleanup.log_links(layout.folder):
            link.unlink(missing_ok=True)
        cleanup.unmount_below(layout.folder)
        shutil.rmtree(layout.folder)

    def alive(self) -> bool:
        """Whether both of its processes live."""
        return self.kubelet.pid is not None and self.containerd.pid is not None

    def _shims(self) -> list[int]:
        address = str(self.layout.socket).encode()
        found = []
        for pid in processes.of_bed(self.layout.bed):
            try:
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if arguments[0].endswith(b"containerd-shim-runc-v2") and address in arguments:
                found.append(pid)
        return found

    def is_ready(self, since: float) -> bool:
        """One look: has the kubelet reported after `since`? Adds the GPUs where a (re-)registered one has none."""
        path = f"/api/v1/nodes/{self.layout.name}"
        try:
            status = self._api.call("GET", path)["status"]
        except (ApiError, OSError):
            return False
        ready = [c for c in status["conditions"] if c["type"] == "Ready" and c["status"] == "True"]
        if not ready or _epoch(ready[0]["lastHeartbeatTime"]) < int(since):
            return False
        shown = [status[part].get("nvidia.com/gpu") for part in ("capacity", "allocatable")]
        if not self._gpus or shown == [str(self._gpus)] * 2:
            return True
        # There is no device plugin: the kubelet keeps what somebody else wrote, until it registers again.
        patch = [
            {"op": "add", "path": f"/status/{part}/nvidia.com~1gpu", "value": str(self._gpus)}
            for part in ("capacity", "allocatable")
        ]
        try:
            self._api.call("PATCH", f"{path}/status", patch, content_type=_JSON_PATCH)
        except (ApiError, OSError):
            pass
        return False

    def _containerd_answers(self) -> bool:
        command = [build.program(CONTAINERD, "ctr"), "--address", str(self.layout.socket), "--connect-timeout", "1s"]
        return subprocess.run([*command, "plugins", "ls", "-q"], capture_output=True, check=False).returncode == 0


def _epoch(text: str) -> float:
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
