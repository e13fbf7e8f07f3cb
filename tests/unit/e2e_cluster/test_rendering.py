from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from e2e.cluster import fakenodes
from e2e.cluster.bases import PYTHON, TORCH, standing_for
from e2e.cluster.components import ALL, wanted
from e2e.cluster.controlplane import AUDIT_POLICY
from e2e.cluster.images import content_key, copied_paths, default_base, stages
from e2e.cluster.nodeconfig import NodeLayout, cni_conflist, containerd_toml, kubelet_config
from e2e.cluster.paths import REPOSITORY
from e2e.cluster.services import corefile, proxy_config
from e2e.cluster.slots import Addresses


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PACELINE_CACHE", str(tmp_path))


def layout(index: int = 1, bed: str = "demo") -> NodeLayout:
    return NodeLayout(bed, f"node{index}", index, Addresses(4))


def kubelet(index: int = 1) -> dict[str, Any]:
    return kubelet_config(layout(index), ca=Path("ca"), crt=Path("crt"), key=Path("key"))


def test_two_nodes_share_no_path_address_or_cgroup() -> None:
    unique = ("address", "containerRuntimeEndpoint", "podLogsDir", "cgroupRoot", "resolvConf", "volumePluginDir")
    first, second = kubelet(1), kubelet(2)
    assert all(first[key] != second[key] for key in unique)


def test_nodes_of_two_beds_with_the_same_name_share_nothing() -> None:
    one, other = layout(bed="one"), layout(bed="other")
    assert {one.folder, one.run, one.cgroup}.isdisjoint({other.folder, other.run, other.cgroup})


def test_sockets_fit_into_the_kernels_limit() -> None:
    assert len(str(layout(50, bed="b" * 40).socket)) < 100


def test_pods_ask_the_beds_own_dns() -> None:
    assert kubelet()["clusterDNS"] == [Addresses(4).services]
    assert f"bind {Addresses(4).services}" in corefile(Addresses(4), "kubeconfig")


def test_a_node_reports_often_enough_for_the_grace_period() -> None:
    from e2e.cluster.controlplane import NODE_GRACE_S

    assert kubelet()["nodeLeaseDurationSeconds"] <= NODE_GRACE_S


def test_containerd_reads_its_own_folders_only() -> None:
    text = containerd_toml(layout(), cni_bin="/cni", runc="/usr/sbin/runc")
    assert f'root = "{layout().containerd_root}"' in text
    assert f'Root = "{layout().run}/runc"' in text
    assert 'sandbox = "docker.io/paceline/pause:1"' in text


def test_each_nodes_pods_have_a_range_of_their_own() -> None:
    ranges = [json.loads(cni_conflist(layout(i)))["plugins"][0]["ipam"]["ranges"] for i in (1, 2)]
    assert ranges[0] != ranges[1]


def test_kube_proxy_leaves_the_machines_sysctls_alone() -> None:
    conntrack = proxy_config(Addresses(0), "kubeconfig")["conntrack"]
    assert set(conntrack.values()) == {0, "0s"}


def test_the_audit_log_has_no_reads() -> None:
    rules: Any = AUDIT_POLICY["rules"]
    assert rules[0] == {"level": "None", "verbs": ["get", "list", "watch"]}


def test_fake_nodes_keep_pods_away_only_beside_real_ones() -> None:
    assert fakenodes.node("kwok-0", 4, tainted=True)["spec"]["taints"]
    assert not fakenodes.node("kwok-0", 4, tainted=False)["spec"]["taints"]


def test_the_stages_of_fake_nodes_are_valid_yaml() -> None:
    kinds = {stage["kind"] for stage in yaml.safe_load_all(fakenodes.STAGES.read_text())}
    assert kinds == {"Stage"}


def test_a_nodeless_bed_builds_nothing_for_nodes() -> None:
    names = [c.name for c in wanted(nodes=0, kwok_nodes=0, s3=True, kubectl=False)]
    assert names == ["etcd", "kube-apiserver", "versitygw", "kube-controller-manager", "kube-scheduler"]


def test_every_program_is_pinned_at_the_version_that_its_component_tells() -> None:
    for component in ALL:
        pins = (component.folder / "go.mod").read_text()
        assert (component.folder / "go.sum").exists()
        for package in component.packages:
            if package.startswith("./"):
                assert list((component.folder / package).glob("*.go")), package
            else:
                assert f"\t{package}\n" in pins, f"{package} is no tool of go.mod"
                modules = [f"\t{parent} v{component.version}" for parent in [*PurePosixPath(package).parents, package]]
                assert any(module in pins for module in modules), f"{package} {component.version}"


def test_our_dockerfiles_have_a_local_stand_in_for_their_base() -> None:
    files = {"Dockerfile": PYTHON, "images/torch/Dockerfile": TORCH, "images/tensorflow/Dockerfile": PYTHON}
    for dockerfile, base in files.items():
        assert standing_for(default_base((REPOSITORY / dockerfile).read_text())) is base


def test_the_stages_that_a_build_keeps_are_those_with_a_name() -> None:
    text = "ARG BASE=x\nFROM ${BASE} AS tools\nFROM tools AS sources\nRUN echo FROM a AS b\nFROM ${BASE}\n"
    assert stages(text) == ["tools", "sources"]


def test_only_what_comes_from_the_context_counts_as_copied() -> None:
    text = "COPY --from=build /a /b\nCOPY --chmod=755 x y \\\n  /to/\nADD z /z\nRUN echo COPY\n"
    assert copied_paths(text) == ["x", "y", "z"]


def test_an_image_is_built_again_only_when_a_copied_file_changed(tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "a.py").write_text("1")

    def key() -> str:
        return content_key("COPY used /used", tmp_path, "t", {})

    before = key()
    (tmp_path / "unused.py").write_text("1")
    (tmp_path / "used" / "__pycache__").mkdir()
    (tmp_path / "used" / "__pycache__" / "a.pyc").write_text("1")
    assert key() == before
    (tmp_path / "used" / "a.py").write_text("2")
    assert key() != before
