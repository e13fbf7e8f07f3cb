"""A running bed, as tests use it."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import yaml

from e2e.cluster import build, cgroups, gcs, hdfs, imagestore, network, paths
from e2e.cluster.api import Api, ApiError
from e2e.cluster.controlplane import NODE_GRACE_S, ControlPlane
from e2e.cluster.errors import BedError
from e2e.cluster.gcs import GcsServer
from e2e.cluster.hdfs import HdfsServer
from e2e.cluster.node import Node
from e2e.cluster.nodeconfig import NodeLayout
from e2e.cluster.pki import Authority
from e2e.cluster.processes import BedProcess
from e2e.cluster.s3 import PORT, S3Server
from e2e.cluster.state import State
from e2e.cluster.stores import StorageServer

# Fake nodes renew rarely: their heartbeats would be the main load of a bed made to measure something else.
_FAKE_NODE_GRACE_S = 300
_Store = TypeVar("_Store", bound=StorageServer)
NOT_FOUND = 404
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


class KubectlError(BedError):
    """kubectl ended with an error; the message is what it said."""


class Bed:
    """One cluster of the test bed. Everything here may be called from several threads or processes."""

    def __init__(self, record: State) -> None:
        self._state = record
        self.name = record.name
        self.addresses = record.addresses
        options = record.options
        self.node_grace_s = _FAKE_NODE_GRACE_S if options.nodeless and options.kwok_nodes else NODE_GRACE_S
        authority = Authority(record.folder / "pki")
        self.plane = ControlPlane(record.folder, record.addresses, authority, self.node_grace_s, options.gang)
        self.kubeconfig: Path = self.plane.admin_kubeconfig()
        self.api = Api(self.kubeconfig)
        self._nodes = {name: self._node(name, index) for name, index in record.nodes.items()}
        self._stores = self._make_stores()

    @property
    def node_names(self) -> list[str]:
        """The real nodes, the lost ones among them."""
        return list(self._nodes)

    @property
    def fake_node_names(self) -> list[str]:
        """The kwok nodes."""
        return [f"kwok-{index:04}" for index in range(self._state.options.kwok_nodes)]

    @property
    def s3(self) -> S3Server:
        """The bed's S3 server, for pods and host at the same URL."""
        return self._store(S3Server, "s3")

    @property
    def gcs(self) -> GcsServer:
        """The bed's server of Google's storage API, for pods and host at the same URL."""
        return self._store(GcsServer, "gcs")

    @property
    def hdfs(self) -> HdfsServer:
        """The bed's HDFS, for pods and host at the same address."""
        return self._store(HdfsServer, "hdfs")

    @property
    def stores(self) -> Mapping[str, StorageServer]:
        """The storage servers that this bed was made with, by name."""
        return self._stores

    @property
    def server(self) -> str:
        """URL of the API server, for pods and host alike."""
        return self.plane.server

    @property
    def host_address(self) -> str:
        """The host as pods see it: what a test serves there, pods can reach."""
        return self.addresses.host

    @property
    def audit_log(self) -> Path:
        """The API server's audit log: one JSON line for each write (level Metadata, stage ResponseComplete)."""
        return self.plane.audit_log

    @property
    def folder(self) -> Path:
        """The bed's directory; logs of all processes are in `logs/`."""
        return self._state.folder

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> str:
        """Run kubectl as administrator; returns its stdout (with `check=False` stdout and stderr)."""
        command = [build.kubectl(), f"--kubeconfig={self.kubeconfig}", *args]
        done = subprocess.run(command, input=input, capture_output=True, text=True, check=False)
        if not check:
            return done.stdout + done.stderr
        if done.returncode:
            raise KubectlError(f"`kubectl {' '.join(args)}`: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def process(self, name: str) -> BedProcess:
        """One process of the bed, for fault tests: `.kill()`, `.restart()`, `.pause()`, `.resume()`, `.pid`, `.log`.

        Names: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, coredns, kube-proxy, kwok, s3, gcs, hdfs,
        and `<node>-kubelet`, `<node>-containerd`. Killed processes stay dead until somebody restarts them.
        """
        process = BedProcess(self.name, name, self._state.folder, netns=self.addresses.netns)
        if name == "kube-apiserver":
            process.ready = self.api.ready
        node = self._nodes.get(name.removesuffix("-kubelet"))
        if node and name.endswith("-kubelet"):
            # A restarted kubelet forgets the GPUs: ready means that it shows them again.
            process.ready = lambda: node.is_ready(process.spawned_at)
        return process

    def load_image(self, tar: Path) -> list[str]:
        """Make the images of a docker or OCI archive known to all nodes; returns their names.

        Nodes added later get them too. An image that a node has with the same digest costs nothing.
        """
        images = imagestore.unpacked(tar)
        with paths.lock(f"bed-{self.name}-state"):
            if str(images) not in self._state.images:
                self._state.images.append(str(images))
                self._state.save()
        self._each_node([n for n in self._nodes.values() if n.alive()], lambda n: n.load(imagestore.store(), images))
        return imagestore.names(images)

    def add_node(self, *, taint: str = "") -> str:
        """Add one node with all images loaded so far; returns its name when it is Ready.

        Args:
            taint: Key of a taint (NoSchedule) that it has from the beginning: pods without a toleration stay away.
        """
        index = max(self._state.nodes.values(), default=0) + 1
        name = self._register_node(index, taint)
        self._start_nodes([self._nodes[name]])
        return name

    def remove_node(self, name: str) -> None:
        """Take a node away for good, killed before or not, with the pods that it had."""
        self._nodes[name].remove()
        for pod in self.api.call("GET", f"/api/v1/pods?fieldSelector=spec.nodeName%3D{name}")["items"]:
            where = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
            self._delete(f"{where}?gracePeriodSeconds=0")
        self._delete(f"/api/v1/nodes/{name}")
        with paths.lock(f"bed-{self.name}-state"):
            del self._state.nodes[name]
            self._state.save()
        del self._nodes[name]

    def _delete(self, path: str) -> None:
        try:
            self.api.call("DELETE", path)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise

    def kill_node(self, name: str, *, containers: bool = True) -> None:
        """Kill kubelet, containerd, shims and containers of a node with SIGKILL: a machine that lost its power.

        The controller manager notices after `node_grace_s`. With `containers=False` the containers run on,
        unattended: a machine that lost only its connection.
        """
        node = self._nodes[name]
        if containers:
            # The kernel that all nodes share would tell the peers of each killed process that it is gone.
            network.unplug(self.addresses, self.addresses.node_pods(node.layout.index))
        node.kill(containers=containers)

    def container_pids(self, name: str) -> list[int]:
        """Processes of all containers of a node, as this machine counts them."""
        return cgroups.pids(self._nodes[name].layout.cgroup)

    def start_node(self, name: str) -> None:
        """Boot a killed node; returns when it is Ready again. None of its old containers runs then."""
        node = self._nodes[name]
        node.kill()
        node.forget_running()
        network.plug(self.addresses, self.addresses.node_pods(node.layout.index))
        self._start_nodes([node])

    def shared_volume(self, claim: str, namespace: str, size: str = "1Gi") -> Path:
        """Make a bound ReadWriteMany claim that all nodes see and any user may write; returns its folder."""
        folder = self._state.folder / "shared" / f"{namespace}-{claim}"
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o2777)
        common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        volume = f"{namespace}-{claim}"
        objects = [
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": volume},
                "spec": {
                    **common,
                    "capacity": {"storage": size},
                    "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": {"path": str(folder), "type": "Directory"},
                    "claimRef": {"name": claim, "namespace": namespace},
                },
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": claim, "namespace": namespace},
                "spec": {**common, "volumeName": volume, "resources": {"requests": {"storage": size}}},
            },
        ]
        self.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects))
        bound = "--for=jsonpath={.status.phase}=Bound"
        self.kubectl("wait", bound, f"pvc/{claim}", f"--namespace={namespace}", "--timeout=30s")
        return folder

    def healthy(self) -> bool:
        """Whether every process lives, the API server answers and every node is Ready."""
        expected = [*CONTROL_PLANE, *self._stores]
        expected += ["coredns", "kube-proxy"] if self._nodes else []
        expected += ["kwok"] if self._state.options.kwok_nodes else []
        if any(self.process(name).pid is None for name in expected) or not all(n.alive() for n in self._nodes.values()):
            return False
        if not self.api.ready() or not all(store.answers() for store in self._stores.values()):
            return False
        try:
            for node in self._nodes.values():
                node.wait_ready(timeout_s=5)
        except RuntimeError:
            return False
        return True

    def _make_stores(self) -> dict[str, StorageServer]:
        options, folder, address = self._state.options, self._state.folder, self.addresses.services
        made: dict[str, StorageServer] = {}
        if options.s3:
            made["s3"] = S3Server(self.process("s3"), folder / "s3", address, PORT)
        if options.gcs:
            made["gcs"] = GcsServer(self.process("gcs"), folder / "gcs", address, gcs.PORT)
        if options.hdfs:
            made["hdfs"] = HdfsServer(self.process("hdfs"), folder / "hdfs", address, hdfs.Ports())
        return made

    def _store(self, kind: type[_Store], name: str) -> _Store:
        store = self._stores.get(name)
        if not isinstance(store, kind):
            raise BedError(f"bed {self.name} was made without {name}: use bed(..., {name}=True)")
        return store

    def _node(self, name: str, index: int, taint: str = "") -> Node:
        layout = NodeLayout(self.name, name, index, self.addresses)
        return Node(layout, self.plane, self.api, self._state.options.gpus_per_node, taint)

    def _register_node(self, index: int, taint: str = "") -> str:
        name = f"node{index}"
        with paths.lock(f"bed-{self.name}-state"):
            self._state.nodes[name] = index
            self._state.save()
        self._nodes[name] = self._node(name, index, taint)
        return name

    def _start_nodes(self, nodes: Sequence[Node]) -> None:
        images = [Path(path) for path in self._state.images]

        def start(node: Node) -> None:
            since = time.time()
            node.start_containerd()
            for image in images:
                node.load(imagestore.store(), image)
            node.start_kubelet()
            node.wait_ready(since)

        self._each_node(nodes, start)

    def _each_node(self, nodes: Sequence[Node], work: Callable[[Node], None]) -> None:
        errors: list[BaseException] = []

        def run(node: Node) -> None:
            try:
                work(node)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(node,)) for node in nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
