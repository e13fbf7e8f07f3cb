"""The test bed itself, for real: what other tests take for granted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
import yaml

from e2e.cluster import Bed, Options, bed, cgroups, cleanup, down, images, network, paths, up
from e2e.cluster.cleanup import leftovers

pytestmark = [pytest.mark.cluster, pytest.mark.disturbs]

# A second image import, a cold page cache, two busy cores: waits end long before this when all is well.
WAIT_S = 60.0


@pytest.fixture(scope="module")
def cluster(real_nodes: Bed) -> Bed:
    real_nodes.load_image(images.operator_image())
    return real_nodes


def pod(name: str, script: str, *, node: str = "", subdomain: str = "", gpus: int = 0) -> str:
    spec = {
        "hostname": name,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "main",
                "image": images.OPERATOR_IMAGE,
                "command": ["python", "-c", script],
                "resources": {"limits": {"nvidia.com/gpu": str(gpus)} if gpus else {}},
            }
        ],
    }
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    if subdomain:
        spec["subdomain"] = subdomain
    return yaml.safe_dump(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": subdomain}}, "spec": spec}
    )


def run(cluster: Bed, manifest: str) -> str:
    """Run a pod to its end; return its logs."""
    name = yaml.safe_load(manifest)["metadata"]["name"]
    cluster.kubectl("apply", "-f", "-", input=manifest)
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", f"--timeout={WAIT_S}s")
    return cluster.kubectl("logs", name)


def until(what: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)


def test_every_node_runs_a_pod_and_its_logs_are_read(cluster: Bed) -> None:
    for name in cluster.node_names:
        assert run(cluster, pod(f"on-{name}", "print('hello')", node=name)) == "hello\n"


def test_pods_on_different_nodes_find_each_other_by_name(cluster: Bed) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "gang"},
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"app": "gang"}},
    }
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(service))
    serve = "import socket; s = socket.create_server(('', 7777)); c, _ = s.accept(); c.sendall(b'hi'); c.close()"
    cluster.kubectl("apply", "-f", "-", input=pod("rank-0", serve, node="node1", subdomain="gang"))
    ask = (
        "import socket, time\n"
        "for _ in range(200):\n"
        "    try:\n"
        "        print(socket.create_connection(('rank-0.gang', 7777), 2).recv(2).decode()); break\n"
        "    except OSError: time.sleep(0.1)"
    )
    assert run(cluster, pod("rank-1", ask, node="node2", subdomain="gang")) == "hi\n"


def test_pods_reach_the_api_server_by_its_service_and_s3_at_the_hosts_url(cluster: Bed) -> None:
    script = (
        "import socket, urllib.request\n"
        "socket.create_connection(('kubernetes.default', 443), 5)\n"
        f"print(urllib.request.urlopen('{cluster.s3.endpoint}/health').status)"
    )
    assert run(cluster, pod("reach", script)) == "200\n"
    assert cluster.s3.make_bucket("from-the-host") == "s3://from-the-host"


def test_gpus_are_counted_by_the_scheduler(cluster: Bed) -> None:
    assert run(cluster, pod("gpu", "print('trained')", gpus=4)) == "trained\n"
    cluster.kubectl("apply", "-f", "-", input=pod("too-many", "", gpus=5))
    condition = "jsonpath={.status.conditions[?(@.type=='PodScheduled')].message}"
    until(lambda: "Insufficient nvidia.com/gpu" in cluster.kubectl("get", "pod", "too-many", "-o", condition))
    cluster.kubectl("delete", "pod", "too-many")


def test_exec_runs_a_command_in_a_pod(cluster: Bed) -> None:
    cluster.kubectl("apply", "-f", "-", input=pod("sleeper", "import time; time.sleep(600)"))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/sleeper", f"--timeout={WAIT_S}s")
    assert cluster.kubectl("exec", "sleeper", "--", "id", "-u") == "65532\n"
    cluster.kubectl("delete", "pod", "sleeper")


def test_a_shared_volume_is_one_folder_for_all_nodes(cluster: Bed) -> None:
    folder = cluster.shared_volume("shared", "default")
    for name in ("node1", "node2"):
        manifest = yaml.safe_load(pod(f"writes-{name}", f"open('/mnt/{name}', 'w').write('x')", node=name))
        manifest["spec"]["securityContext"] = {"runAsUser": 1000, "fsGroup": 1000}
        manifest["spec"]["volumes"] = [{"name": "s", "persistentVolumeClaim": {"claimName": "shared"}}]
        manifest["spec"]["containers"][0]["volumeMounts"] = [{"name": "s", "mountPath": "/mnt"}]
        run(cluster, yaml.safe_dump(manifest))
    assert {path.name for path in folder.iterdir()} >= {"node1", "node2"}


def test_the_audit_log_tells_writes_and_no_reads(cluster: Bed) -> None:
    cluster.kubectl("create", "configmap", "counted")
    cluster.kubectl("get", "configmap", "counted")
    lines = [line for line in cluster.audit_log.read_text().splitlines() if '"name":"counted"' in line]
    assert len(lines) == 1
    assert '"verb":"create"' in lines[0]


def test_native_gang_scheduling_is_served(cluster: Bed) -> None:
    assert "podgroups" in cluster.kubectl("api-resources", "--api-group=scheduling.k8s.io")


def test_killed_control_plane_processes_come_back_with_their_data(cluster: Bed) -> None:
    for name in ("kube-apiserver", "etcd", "kube-scheduler", "kube-controller-manager"):
        cluster.process(name).restart()
    until(cluster.api.ready)
    assert cluster.kubectl("get", "configmap", "counted", "--output=name") == "configmap/counted\n"
    assert run(cluster, pod("after-restart", "print('placed')")) == "placed\n"


def test_a_restarted_kubelet_shows_its_gpus_again(cluster: Bed) -> None:
    cluster.process("node3-kubelet").restart()
    amount = cluster.kubectl("get", "node", "node3", "--output=jsonpath={.status.allocatable.nvidia\\.com/gpu}")
    assert amount == "4"


def test_a_killed_node_becomes_not_ready_and_can_be_booted_again(cluster: Bed) -> None:
    cluster.kubectl("apply", "-f", "-", input=pod("lost", "import time; time.sleep(600)", node="node2"))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/lost", f"--timeout={WAIT_S}s")
    cluster.kill_node("node2")
    status = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    until(lambda: cluster.kubectl("get", "node", "node2", "-o", status) == "Unknown", cluster.node_grace_s + 15)
    cluster.start_node("node2")
    assert run(cluster, pod("after-boot", "print('back')", node="node2", gpus=1)) == "back\n"


def test_an_added_node_has_the_images_and_a_removed_one_leaves_nothing_behind(cluster: Bed) -> None:
    before, alone = set(cluster.node_names), "example.com/alone"
    name = cluster.add_node(taint=alone)
    newcomer = yaml.safe_load(pod("newcomer", "print('here')", node=name))
    newcomer["spec"]["tolerations"] = [{"key": alone, "operator": "Exists"}]
    assert run(cluster, yaml.safe_dump(newcomer)) == "here\n"
    cluster.kubectl("apply", "-f", "-", input=pod("outside", "print('waits')", node=name))
    told = "--for=jsonpath={.status.conditions[?(@.type=='PodScheduled')].reason}=Unschedulable"
    cluster.kubectl("wait", told, "pod/outside", f"--timeout={WAIT_S}s")
    cluster.kubectl("delete", "pod", "outside")
    cluster.kill_node(name)
    cluster.remove_node(name)
    assert set(cluster.node_names) == before
    assert set(cluster.kubectl("get", "nodes", "-o", "name").split()) == {f"node/{each}" for each in before}
    group = cgroups.node_group(cluster.name, name)
    assert (cgroups.pids(group), cgroups.leftovers(group)) == ([], [])
    folders = (paths.bed_dir(cluster.name) / "nodes" / name, paths.run_dir(cluster.name) / name)
    assert [(folder.exists(), cleanup.mounts_below(folder)) for folder in folders] == [(False, [])] * 2
    network_shows = network.inside(cluster.addresses, "ip", "addr")
    network_shows += network.inside(cluster.addresses, "iptables", "-S")
    index = int(name.removeprefix("node"))
    ours = (f"plbr{index}", f"{cluster.addresses.node(index)}/", cluster.addresses.node_pods(index))
    assert [each for each in ours if each in network_shows] == []


def test_two_beds_live_side_by_side_and_a_healthy_one_is_reused(cluster: Bed) -> None:
    with bed("bed-test-2", nodes=0) as other:
        assert other.kubectl("get", "nodes") == ""
        assert other.server != cluster.server
        pid = other.process("etcd").pid
        assert up("bed-test-2", Options(nodes=0)).process("etcd").pid == pid
        assert cluster.api.ready()


def test_a_bed_left_by_a_crash_is_replaced() -> None:
    with bed("bed-test-3", nodes=1) as broken:
        for name in ("etcd", "node1-containerd"):
            pid = broken.process(name).pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        fresh = up("bed-test-3", Options(nodes=1))
        assert fresh.healthy()


def test_down_leaves_nothing_behind() -> None:
    gone = up("bed-test-4", Options(nodes=1))
    gone.load_image(images.operator_image())
    gone.shared_volume("shared", "default")
    gone.kubectl("apply", "-f", "-", input=pod("runs", "import time; time.sleep(600)"))
    gone.kubectl("wait", "--for=condition=Ready", "pod/runs", f"--timeout={WAIT_S}s")
    assert leftovers(gone.name, gone.addresses)
    down(gone.name)
    assert leftovers(gone.name, gone.addresses) == []


def test_fake_nodes_run_pods_and_end_them_when_told() -> None:
    with bed("bed-test-5", nodes=0, kwok_nodes=20, s3=False) as many:
        many.kubectl("create", "deployment", "web", "--image=none", "--replicas=40")
        many.kubectl("rollout", "status", "deployment/web", f"--timeout={WAIT_S}s")
        for code, phase in (("0", "Succeeded"), ("3", "Failed")):
            manifest = yaml.safe_load(pod(f"exits-{code}", ""))
            manifest["metadata"]["annotations"] = {"bed.paceline.dev/exit-code": code}
            many.kubectl("apply", "-f", "-", input=yaml.safe_dump(manifest))
            many.kubectl(
                "wait", f"--for=jsonpath={{.status.phase}}={phase}", f"pod/exits-{code}", f"--timeout={WAIT_S}s"
            )
