"""Ends a bed, healthy, half up or left by a killed process, and tells what is left of one."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

from e2e.cluster import cgroups, network, nodeconfig, paths, processes, state
from e2e.cluster.errors import BedError
from e2e.cluster.slots import Addresses

_CONTAINER_LOGS = Path("/var/log/containers")
_SHIM_SOCKETS = Path("/run/containerd/s")
_CNI_RESULTS = Path("/var/lib/cni/results")


def clean(name: str) -> None:
    """Remove everything of the bed: processes, mounts, cgroups, network, files. Safe to call at any time, twice too."""
    record = state.load(name)
    sockets = shim_sockets(paths.run_dir(name))
    _kill_all(name, record.addresses if record else None)
    unmount_below(paths.bed_dir(name))
    unmount_below(paths.run_dir(name))
    cgroups.remove(_group(name))
    if record:
        network.delete(record.addresses)
    for path in [*sockets, *log_links(paths.bed_dir(name)), *_cni_results(name)]:
        path.unlink(missing_ok=True)
    shutil.rmtree(paths.run_dir(name), ignore_errors=True)
    # The record goes last: a cleaning that was interrupted can be repeated.
    folder = paths.bed_dir(name)
    if folder.exists():
        for entry in folder.iterdir():
            if entry.name == "state.json":
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        shutil.rmtree(folder)


def leftovers(name: str, addresses: Addresses) -> list[str]:
    """One line for each thing of the bed that still exists. Empty after a good `down`."""
    found = [f"process {pid} ({_command(pid)})" for pid in _pids(name, addresses)]
    found += [f"mount {path}" for folder in _folders(name) for path in mounts_below(folder)]
    found += cgroups.leftovers(_group(name))
    found += network.leftovers(addresses)
    found += [
        f"file {path}"
        for path in [*_folders(name), *log_links(paths.bed_dir(name)), *_cni_results(name)]
        if path.exists() or path.is_symlink()
    ]
    return found


def mounts_below(folder: Path) -> list[str]:
    """Mount points below a folder, the innermost first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point.startswith(f"{folder}/"):
            points.append(point)
    return points[::-1]


def unmount_below(folder: Path) -> None:
    """Unmount everything below a folder, also what is still busy."""
    for point in mounts_below(folder):
        network.run("umount", "-l", point, check=False)


def _folders(name: str) -> list[Path]:
    return [paths.bed_dir(name), paths.run_dir(name)]


def _group(name: str) -> str:
    return f"/{cgroups.PARENT}/{name}"


def _pids(name: str, addresses: Addresses | None) -> list[int]:
    inside = network.pids(addresses) if addresses else []
    return sorted({*processes.of_bed(name), *cgroups.pids(_group(name)), *inside})


def _kill_all(name: str, addresses: Addresses | None) -> None:
    deadline = time.monotonic() + 30
    while pids := _pids(name, addresses):  # again, because one may have been starting another
        processes.end(pids)
        if time.monotonic() > deadline:
            raise BedError(f"bed {name}: processes keep coming back: {[_command(pid) for pid in pids]}")


def shim_sockets(folder: Path) -> list[Path]:
    """Sockets that shims put in the one folder that all containerds share.

    Args:
        folder: Of one node's containerd, or of all nodes of a bed.
    """
    found = []
    # Not by rglob: beside these files lie the root file systems of containers, which may just be unmounted.
    tasks = "state/io.containerd.runtime.v2.task/*/*/bootstrap.json"
    for file in (*folder.glob(tasks), *folder.glob(f"*/{tasks}")):
        try:
            address = str(json.loads(file.read_text())["address"])
        except (OSError, ValueError, KeyError):
            continue
        path = Path(address.removeprefix("unix://"))
        if path.parent == _SHIM_SOCKETS:
            found.append(path)
    return found


def log_links(folder: Path) -> list[Path]:
    """Links into `folder` that a kubelet made in a folder which it shares with every other kubelet of the machine."""
    if not _CONTAINER_LOGS.exists():
        return []
    prefix = f"{folder}/"
    return [p for p in _CONTAINER_LOGS.iterdir() if p.is_symlink() and str(p.readlink()).startswith(prefix)]


def _cni_results(name: str) -> list[Path]:
    """What CNI remembers about pods, in a folder for the whole machine."""
    mine = re.compile(re.escape(nodeconfig.cni_network(name)) + r"-[0-9a-f]{64}-\w+")
    return [p for p in _CNI_RESULTS.iterdir() if mine.fullmatch(p.name)] if _CNI_RESULTS.exists() else []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120].strip()
    except OSError:
        return "gone"
