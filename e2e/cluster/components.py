"""Which programs a bed is made of: pinned in the Go modules beside this file, built on this machine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.paths import SOURCE

KUBERNETES_VERSION = "1.36.3"
BUILD_FLAGS = ("-trimpath", "-buildvcs=false")
_KUBERNETES_LDFLAGS = " ".join(
    f"-X k8s.io/component-base/version.{key}={value}"
    for key, value in {
        "gitVersion": f"v{KUBERNETES_VERSION}",
        "gitMajor": KUBERNETES_VERSION.split(".")[0],
        "gitMinor": KUBERNETES_VERSION.split(".")[1],
        "gitTreeState": "clean",
    }.items()
)


@dataclass(frozen=True, slots=True)
class Component:
    """One build: packages of a Go module of `e2e/cluster/go`, or of what it requires, and the programs they give.

    One module for all but one, so that what several programs are made of is compiled once.
    """

    name: str
    version: str
    packages: tuple[str, ...]
    programs: tuple[str, ...]
    ldflags: str = ""
    module: str = "bed"

    @property
    def folder(self) -> Path:
        """The module's folder in the clone."""
        return SOURCE / "go" / self.module

    @property
    def key(self) -> str:
        """Name of the cache entry. It changes with the version, the pinned modules, the sources and the flags."""
        digest = hashlib.sha256(repr((self.packages, self.ldflags, BUILD_FLAGS)).encode())
        own = [self.folder / package for package in self.packages if package.startswith("./")]
        sources = [path for folder in own for path in sorted(folder.rglob("*.go"))]
        for path in (self.folder / "go.mod", self.folder / "go.sum", *sources):
            digest.update(path.relative_to(self.folder).as_posix().encode())
            digest.update(path.read_bytes())
        return f"{self.name}-{self.version}-{digest.hexdigest()[:12]}"


def _kubernetes(program: str) -> Component:
    return Component(
        program,
        KUBERNETES_VERSION,
        (f"k8s.io/kubernetes/cmd/{program}",),
        (program,),
        _KUBERNETES_LDFLAGS,
    )


_CONTAINERD = "github.com/containerd/containerd/v2/cmd"
_CNI = "github.com/containernetworking/plugins/plugins"

ETCD = Component("etcd", "3.6.8", ("go.etcd.io/etcd/server/v3",), ("etcd",))
APISERVER = _kubernetes("kube-apiserver")
CONTROLLER_MANAGER = _kubernetes("kube-controller-manager")
SCHEDULER = _kubernetes("kube-scheduler")
KUBELET = _kubernetes("kubelet")
KUBE_PROXY = _kubernetes("kube-proxy")
KUBECTL = _kubernetes("kubectl")
VERSITYGW = Component("versitygw", "1.8.0", ("github.com/versity/versitygw/cmd/versitygw",), ("versitygw",))
FAKE_GCS = Component("fake-gcs-server", "1.56.1", ("github.com/fsouza/fake-gcs-server",), ("fake-gcs-server",))
CONTAINERD = Component(
    "containerd",
    "2.4.2",
    (f"{_CONTAINERD}/containerd", f"{_CONTAINERD}/containerd-shim-runc-v2", f"{_CONTAINERD}/ctr", "./imageload"),
    ("containerd", "containerd-shim-runc-v2", "ctr", "imageload"),
    # Of its own: it needs a newer k8s.io/cri-api than the kubelet compiles with.
    module="containerd",
)
CNI = Component(
    "cni",
    "1.9.1",
    (f"{_CNI}/ipam/host-local", f"{_CNI}/main/bridge", f"{_CNI}/meta/portmap"),
    ("host-local", "bridge", "portmap"),
)
COREDNS = Component("coredns", "1.15.0", ("./coredns",), ("coredns",))
PAUSE = Component("pause", "1", ("./pause",), ("pause",))
HELM = Component("helm", "4.3.1", ("helm.sh/helm/v4/cmd/helm",), ("helm",))
KWOK = Component("kwok", "0.8.0", ("sigs.k8s.io/kwok/cmd/kwok",), ("kwok",))

# In the order in which a first `up` needs them.
NODE = (KUBELET, CONTAINERD, CNI, COREDNS, PAUSE, KUBE_PROXY)
ALL = (ETCD, APISERVER, VERSITYGW, CONTROLLER_MANAGER, SCHEDULER, *NODE, HELM, KUBECTL, KWOK, FAKE_GCS)


def wanted(*, nodes: int, kwok_nodes: int, s3: bool, kubectl: bool, gcs: bool = False) -> tuple[Component, ...]:
    """The components for a bed with these options, the first needed first. `kubectl`: the machine has none."""
    return (
        ETCD,
        APISERVER,
        *((VERSITYGW,) if s3 else ()),
        *((FAKE_GCS,) if gcs else ()),
        *((KUBECTL,) if kubectl else ()),
        CONTROLLER_MANAGER,
        SCHEDULER,
        *(NODE if nodes else ()),
        *((KWOK,) if kwok_nodes else ()),
    )
