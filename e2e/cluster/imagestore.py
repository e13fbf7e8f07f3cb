"""Images on this machine: each archive unpacked once, so that nodes need only hard links to it."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from e2e.cluster import build, paths
from e2e.cluster.components import CONTAINERD, PAUSE
from e2e.cluster.errors import BedError
from e2e.cluster.nodeconfig import PAUSE_IMAGE


def store() -> Path:
    """Blobs and unpacked layers of all images, on the same file system as the nodes."""
    path = paths.cache() / "images" / "store"
    path.mkdir(parents=True, exist_ok=True)
    return path


def unpacked(archive: Path) -> Path:
    """Unpack a docker or OCI archive into the store, once; returns the list that nodes load from."""
    found = archive.stat()
    key = hashlib.sha256(f"{archive.resolve()} {found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:24]
    target = store() / "archives" / f"{key}.json"
    with paths.lock("images"):
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            command = [build.program(CONTAINERD, "imageload"), "unpack", "-store", str(store())]
            command += ["-list", str(target), "-archive", str(archive)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BedError(done.stderr.strip())
        # Under the lock: who prunes must see that it is in use.
        target.touch()
    used_file(archive).touch()
    return target


def used_file(archive: Path) -> Path:
    """Touched whenever the archive is asked for. (Its own time names what it was unpacked to.)"""
    return archive.with_suffix(".used")


def names(images: Path) -> list[str]:
    """The image names in such a list."""
    return [str(image["name"]) for image in json.loads(images.read_text())]


def pause_archive() -> Path:
    """The sandbox image: one static program and nothing else."""
    target = paths.cache() / "images" / f"{PAUSE.key}.tar"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            _add(tar, "pause", Path(build.program(PAUSE)).read_bytes(), mode=0o755)
        config = {"User": "65535:65535", "Entrypoint": ["/pause"]}
        write_archive(target, PAUSE_IMAGE, [layer.getvalue()], config)
    return target


def write_archive(target: Path, name: str, layers: list[bytes], config: dict[str, Any]) -> None:
    """Write a docker archive from uncompressed layers."""
    digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
    image = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }
    data = json.dumps(image).encode()
    config_name = f"{hashlib.sha256(data).hexdigest()}.json"
    files = [f"{digest}.tar" for digest in digests]
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": files}]
    temporary = target.with_suffix(".tmp")
    with tarfile.open(temporary, "w") as tar:
        for file, layer in zip(files, layers, strict=True):
            _add(tar, file, layer)
        _add(tar, config_name, data)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    temporary.replace(target)


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))
