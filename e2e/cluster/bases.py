"""Local stand-ins for the base images of our Dockerfiles, made of Debian packages: no registry is asked."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster import paths
from e2e.cluster.errors import BedError

SUITE = "trixie"
LOCK = "buildah"
_PYTHON = ("ca-certificates", "python-is-python3", "python3", "python3-pip", "python3-venv")
# A third of a minimal system is text that no container reads.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/include/*")


@dataclass(frozen=True, slots=True)
class Base:
    """A root file system for the images whose default base starts with `stands_for`."""

    name: str
    stands_for: str
    packages: tuple[str, ...]
    build_args: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Changes with the packages."""
        digest = hashlib.sha256(repr((SUITE, self.packages, _LEFT_OUT)).encode()).hexdigest()
        return f"{self.name}-{digest[:12]}"

    @property
    def image(self) -> str:
        """Its name in our buildah storage."""
        return f"localhost/paceline-base:{self.key}"


PYTHON = Base("python", "python:", _PYTHON)
TORCH = Base(
    "torch",
    "pytorch/",
    (*_PYTHON, "python3-numpy", "python3-sklearn", "python3-torch"),
    {"USE_LIBUV": "0"},
)
BASES = (PYTHON, TORCH)


def standing_for(default: str) -> Base | None:
    """The local base for an image name such as `python:3.13-slim`."""
    return next((base for base in BASES if default.startswith(base.stands_for)), None)


def ensure(base: Base) -> None:
    """Have the base in our buildah storage."""
    with paths.lock(f"base-{base.name}"):
        if buildah("images", "--quiet", base.image, check=False).strip():
            return
        folder = paths.cache() / "images" / "bases"
        folder.mkdir(parents=True, exist_ok=True)
        rootfs = folder / f"{base.key}.tar"
        try:
            _bootstrap(base, rootfs)
            container = buildah("from", "scratch").strip()
            try:
                buildah("add", container, str(rootfs), "/")
                path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
                buildah("config", "--env", path, "--cmd", json.dumps(["python3"]), container)
                buildah("commit", "--quiet", container, base.image)
            finally:
                buildah("rm", container)
        finally:
            rootfs.unlink(missing_ok=True)


def buildah(*arguments: str, check: bool = True, cwd: Path | None = None) -> str:
    """Run buildah on a storage of our own, so that the machine's images stay as they are."""
    with paths.lock(LOCK, shared=True):
        return buildah_alone(*arguments, check=check, cwd=cwd)


def storage() -> Path:
    """Where buildah keeps its layers."""
    return paths.cache() / "images" / "buildah"


def buildah_alone(*arguments: str, check: bool = True, cwd: Path | None = None) -> str:
    """The same for who holds `LOCK` alone: nothing that a build needs next is removed between two of its steps."""
    own = [f"--root={storage()}/root", f"--runroot={storage()}/run"]
    command = ["buildah", "--storage-driver=overlay", *own, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if check and done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise BedError(f"buildah {arguments[0]} failed:\n{tail}")
    return done.stdout


def _bootstrap(base: Base, rootfs: Path) -> None:
    excluded = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(base.packages)}", *excluded]
    done = subprocess.run([*command, SUITE, str(rootfs)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BedError(f"mmdebstrap failed: {done.stderr.strip()[-800:]}")
