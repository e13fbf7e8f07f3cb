"""`up` and `down`: builds what is missing, reuses a healthy bed, cleans any other, starts anew."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster import (
    build,
    cleanup,
    components,
    fakenodes,
    hadoop,
    imagestore,
    network,
    paths,
    preflight,
    prune,
    services,
    slots,
    state,
)
from e2e.cluster.bed import Bed
from e2e.cluster.components import Component
from e2e.cluster.progress import Progress
from e2e.cluster.state import Options, State


@contextmanager
def bed(
    name: str = "paceline",
    nodes: int = 3,
    gpus_per_node: int = 4,
    kwok_nodes: int = 0,
    s3: bool = True,
    *,
    gcs: bool = False,
    hdfs: bool = False,
    gang: bool = True,
    keep: bool = False,
) -> Iterator[Bed]:
    """A bed inside a `with` block, ended after it.

    Args:
        name: Decides addresses, cgroups and folders. Beds with different names live side by side.
        nodes: Real nodes. 0: API server and scheduler only, for tests that need no running pod.
        gpus_per_node: `nvidia.com/gpu` that each node shows.
        kwok_nodes: Fake nodes beside (or, with `nodes=0`, in place of) the real ones.
        s3: Whether to run an S3 server.
        gcs: Whether to run a server of Google's storage API.
        hdfs: Whether to run an HDFS. Needs Java.
        gang: Whether Kubernetes' own gang scheduling is switched on (PodGroups of scheduling.k8s.io/v1alpha2).
        keep: Leave the bed up; the next `bed` or `up` with the same name and options takes it over.
    """
    started = up(name, Options(nodes, gpus_per_node, kwok_nodes, s3, gcs, hdfs, gang))
    try:
        yield started
    finally:
        if not keep:
            down(name)


def up(name: str, options: Options) -> Bed:
    """Return a healthy bed with these options: the one that runs, else a new one."""
    slots.check_name(name)
    preflight.check(needs_build=False)  # before anything is touched
    if options.nodes > slots.MAX_NODES:
        raise ValueError(f"a bed has at most {slots.MAX_NODES} real nodes: use --kwok-nodes for more")
    wanted = components.wanted(
        nodes=options.nodes,
        kwok_nodes=options.kwok_nodes,
        s3=options.s3,
        gcs=options.gcs,
        kubectl=not shutil.which("kubectl"),
    )
    missing = [component for component in wanted if not build.is_built(component)]
    preflight.check(needs_build=bool(missing))
    if options.hdfs and (sentence := hadoop.missing()):
        raise preflight.RefusedError(sentence)
    with paths.lock(f"bed-{name}"):
        record = state.load(name)
        keys = {component.name: component.key for component in wanted}
        if record and _reusable(record, options, keys):
            return Bed(record)
        cleanup.clean(name)
        fetch = options.hdfs and not hadoop.is_built()
        progress = Progress(len(missing) + 3 + (1 if options.nodes else 0) + (1 if fetch else 0))
        with progress.shown():
            _prepare(missing, options, progress)
            try:
                return _start(name, options, keys, progress)
            except BaseException:
                progress.say(f"bed {name} did not come up; logs are in {paths.bed_dir(name) / 'logs'}")
                raise


def down(name: str) -> None:
    """End a bed, whatever state it is in."""
    slots.check_name(name)
    with paths.lock(f"bed-{name}"):
        cleanup.clean(name)


def build_everything(images: Sequence[Callable[[], Path]]) -> None:
    """Build every program and these images, and unpack the images, so that a later `up` has nothing to wait for."""
    missing = [component for component in components.ALL if not build.is_built(component)]
    preflight.check(needs_build=bool(missing))
    without_hdfs = hadoop.missing()
    fetch = not without_hdfs and not hadoop.is_built()
    progress = Progress(len(missing) + (1 if fetch else 0))
    packages = preflight.BASE_PACKAGES | preflight.NODE_PACKAGES | preflight.IMAGE_PACKAGES
    with progress.shown():
        preflight.install_packages(packages, progress)
        with _beside(lambda: _archives(fetch, images, progress)):
            build.ensure_all(missing, progress)
    if without_hdfs:
        print(f"no HDFS: {without_hdfs}", file=sys.stderr)
    if gone := prune.images():
        print(f"image cache: {gone} old versions deleted", file=sys.stderr)


def _archives(fetch: bool, images: Sequence[Callable[[], Path]], progress: Progress) -> None:
    if fetch:
        hadoop.ensure(progress)
    for image in images:
        archive = image()
        # The programs are built meanwhile, this one late: here it is what the next step needs.
        build.ensure(components.CONTAINERD, progress)
        imagestore.unpacked(archive)


def running(name: str) -> Bed | None:
    """The bed of this name if it came up once and was not ended since."""
    record = state.load(name)
    return Bed(record) if record and record.complete else None


def _reusable(record: State, options: Options, keys: dict[str, str]) -> bool:
    same = record.format == state.FORMAT and record.options == options and record.components == keys
    if not (same and record.complete and len(record.nodes) == options.nodes and network.exists(record.addresses)):
        return False
    return Bed(record).healthy()


def _prepare(missing: Sequence[Component], options: Options, progress: Progress) -> None:
    packages = preflight.BASE_PACKAGES | (preflight.NODE_PACKAGES if options.nodes else {})
    if options.nodes:
        preflight.allow_watches()
    with _beside(lambda: _from_the_network(packages, options.hdfs, progress)):
        build.ensure_all(missing, progress)


def _from_the_network(packages: dict[str, str], hdfs: bool, progress: Progress) -> None:
    preflight.install_packages(packages, progress)
    if hdfs and not hadoop.is_built():
        hadoop.ensure(progress)


@contextmanager
def _beside(work: Callable[[], None]) -> Iterator[None]:
    """Do `work` in a thread while the block runs: builds take the processors, downloads the network."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]


def _start(name: str, options: Options, keys: dict[str, str], progress: Progress) -> Bed:
    with progress.step("network"), paths.lock("slots"):
        others = [other for other in map(state.load, state.names()) if other and other.name != name]
        addresses = slots.choose(name, [other.slot for other in others], network.host_routes())
        record = State(name, addresses.slot, options, keys)
        record.save()
        network.delete(addresses)  # a namespace of this slot that no bed has a record of
        network.create(addresses)
    started = Bed(record)
    with progress.step("etcd and API server"):
        started.process("etcd").start(started.plane.etcd())
        started.process("kube-apiserver").start(started.plane.apiserver())
        # They come up beside the API server.
        for store in started.stores.values():
            store.launch()
        started.process("kube-apiserver").wait_ready()
        for store in started.stores.values():
            store.process.wait_ready()
    with progress.step("controllers and scheduler"):
        started.process("kube-controller-manager").start(started.plane.controller_manager())
        started.process("kube-scheduler").start(started.plane.scheduler())
        if options.kwok_nodes:
            _start_fake_nodes(started, options)
    if options.nodes:
        with progress.step(f"{options.nodes} nodes"):
            _start_real_nodes(started, record, options)
    _wait_default_account(started)
    record.complete = True
    record.save()
    return started


def _start_fake_nodes(started: Bed, options: Options) -> None:
    lease_s = max(40, started.node_grace_s * 2)
    started.process("kwok").start(fakenodes.command(started.kubeconfig, lease_s=lease_s))
    tainted = bool(options.nodes)
    nodes = [fakenodes.node(name, options.gpus_per_node, tainted=tainted) for name in started.fake_node_names]
    fakenodes.create(started.api, nodes)
    fakenodes.wait_ready(started.api, options.kwok_nodes)


def _start_real_nodes(started: Bed, record: State, options: Options) -> None:
    record.images.append(str(imagestore.unpacked(imagestore.pause_archive())))
    names = [started._register_node(index + 1) for index in range(options.nodes)]
    started.process("coredns").start(services.coredns(started.plane))
    started.process("kube-proxy").start(services.kube_proxy(started.plane, names[0]))
    started._start_nodes([started._nodes[name] for name in names])


def _wait_default_account(started: Bed) -> None:
    """Until the controller manager has made it, no pod can be created in the namespace `default`."""
    wait = "--for=create"
    started.kubectl("wait", wait, "serviceaccount/default", "--namespace=default", "--timeout=30s")
