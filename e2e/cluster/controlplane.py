"""Command lines and files of the control plane: etcd, API server, controller manager, scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from e2e.cluster import build
from e2e.cluster.components import APISERVER, CONTROLLER_MANAGER, ETCD, SCHEDULER
from e2e.cluster.pki import Authority
from e2e.cluster.slots import Addresses

GANG_GATES = (
    "GenericWorkload=true,GangScheduling=true,TopologyAwareWorkloadScheduling=true,WorkloadAwarePreemption=true"
)
# Else 1.36 takes pods out of their backoff whenever nothing else waits, and tries those of a PodGroup that fits nowhere
# again and again with most of a core (by gate: GangScheduling alone is enough for it).
_SCHEDULER_GATES = f"{GANG_GATES},SchedulerPopFromBackoffQ=false"
# Upstream waits 50 s. Short enough for tests, and still five times the kubelet's lease renewal.
NODE_GRACE_S = 16
ETCD_URL = "http://127.0.0.1:2379"

# Only writes, one small line each: tests count them. Leases of nodes and components would drown the rest.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": [
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {
            "level": "None",
            "userGroups": ["system:nodes", "system:masters"],
            "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}],
            "namespaces": ["kube-system", "kube-node-lease"],
        },
        {
            "level": "None",
            "users": ["system:kube-scheduler", "system:kube-controller-manager"],
            "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}],
        },
        {"level": "Metadata"},
    ],
}


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Renders what the control plane of one bed is started with."""

    state: Path
    addresses: Addresses
    authority: Authority
    node_grace_s: int = NODE_GRACE_S
    gang: bool = True
    """Whether native gang scheduling is served."""

    @property
    def server(self) -> str:
        """URL of the API server for host and pods."""
        return f"https://{self.addresses.services}:6443"

    @property
    def audit_log(self) -> Path:
        """One JSON line for each write."""
        return self.state / "logs" / "audit.jsonl"

    def admin_kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.authority.kubeconfig("admin", self.server, "admin", groups=["system:masters"])

    def etcd(self) -> list[str]:
        """No fsync: a killed process loses nothing by it, only a killed machine would."""
        return [
            build.program(ETCD),
            f"--data-dir={self.state / 'etcd'}",
            f"--listen-client-urls={ETCD_URL}",
            f"--advertise-client-urls={ETCD_URL}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
            "--quota-backend-bytes=4294967296",
            "--auto-compaction-retention=10m",
            "--log-level=warn",
        ]

    def apiserver(self) -> list[str]:
        """Secure port only, Node and RBAC authorization, audit log, native gang scheduling served."""
        hosts = [
            *("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"),
            *("localhost", "127.0.0.1", self.addresses.services, self.addresses.kubernetes_service),
        ]
        crt, key = self.authority.issue("apiserver", "kube-apiserver", hosts=hosts)
        kubelet_crt, kubelet_key = self.authority.issue(
            "apiserver-kubelet-client", "kube-apiserver-kubelet-client", groups=["system:masters"]
        )
        private, public = self.authority.signing_keys()
        policy = self.state / "audit-policy.yaml"
        policy.write_text(yaml.safe_dump(AUDIT_POLICY, sort_keys=False))
        self.audit_log.parent.mkdir(parents=True, exist_ok=True)
        return [
            build.program(APISERVER),
            f"--etcd-servers={ETCD_URL}",
            "--bind-address=0.0.0.0",
            f"--advertise-address={self.addresses.services}",
            "--secure-port=6443",
            f"--service-cluster-ip-range={self.addresses.service_network}",
            f"--tls-cert-file={crt}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self.authority.certificate}",
            f"--kubelet-client-certificate={kubelet_crt}",
            f"--kubelet-client-key={kubelet_key}",
            f"--kubelet-certificate-authority={self.authority.certificate}",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={public}",
            f"--service-account-signing-key-file={private}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=2000",
            *(
                [f"--feature-gates={GANG_GATES}", "--runtime-config=scheduling.k8s.io/v1alpha2=true"]
                if self.gang
                else []
            ),
            "--profiling=false",
            "--shutdown-delay-duration=0s",
        ]

    def controller_manager(self) -> list[str]:
        """Notices a silent node after `node_grace_s`."""
        config = self.authority.kubeconfig("controller-manager", self.server, "system:kube-controller-manager")
        private, _ = self.authority.signing_keys()
        return [
            build.program(CONTROLLER_MANAGER),
            f"--kubeconfig={config}",
            f"--root-ca-file={self.authority.certificate}",
            f"--service-account-private-key-file={private}",
            f"--cluster-signing-cert-file={self.authority.certificate}",
            f"--cluster-signing-key-file={self.authority.key}",
            "--use-service-account-credentials=true",
            f"--node-monitor-grace-period={self.node_grace_s}s",
            "--node-monitor-period=2s",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            # Without it no PodGroup that was deleted ever goes, and its namespace neither: a finalizer stays.
            *([f"--feature-gates={GANG_GATES}"] if self.gang else []),
        ]

    def scheduler(self) -> list[str]:
        """No client-side limit that would be measured in place of the operator's own speed."""
        client = self.authority.kubeconfig("scheduler", self.server, "system:kube-scheduler")
        config = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": {"kubeconfig": str(client), "qps": 1000, "burst": 2000},
            "leaderElection": {"leaderElect": False},
            # Upstream: 10 s. Tests wait for the try after the one that found no place.
            "podMaxBackoffSeconds": 2,
        }
        path = self.state / "scheduler.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return [
            build.program(SCHEDULER),
            f"--config={path}",
            "--bind-address=127.0.0.1",
            *([f"--feature-gates={_SCHEDULER_GATES}"] if self.gang else []),
        ]
