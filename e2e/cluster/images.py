"""Builds the repository's Dockerfiles without any registry, and caches the result by content."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from e2e.cluster import bases, imagestore, paths, preflight
from e2e.cluster.bases import buildah
from e2e.cluster.paths import REPOSITORY, SOURCE
from e2e.cluster.progress import Progress

OPERATOR_IMAGE = "docker.io/paceline/operator:dev"
TORCH_IMAGE = "docker.io/paceline/torch:dev"
TENSORFLOW_IMAGE = "docker.io/paceline/tensorflow:dev"
TRACKERS_IMAGE = "docker.io/paceline/trackers:dev"
BUNDLED_IMAGE = "docker.io/paceline/bundled:dev"
# Where this machine keeps its certificates and pip its settings: shown to builds, never part of an image.
_HOST_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
_CA = _HOST_FILES[0]


def operator_image() -> Path:
    """The operator's image, with the agent's payload, as an archive for `Bed.load_image`."""
    return build_image(REPOSITORY / "Dockerfile", REPOSITORY, OPERATOR_IMAGE, {})


def torch_image() -> Path:
    """The torch image of the examples as an archive for `Bed.load_image`."""
    folder = REPOSITORY / "images" / "torch"
    return build_image(folder / "Dockerfile", folder, TORCH_IMAGE, {})


def tensorflow_image() -> Path:
    """The TensorFlow image of the examples as an archive for `Bed.load_image`."""
    folder = REPOSITORY / "images" / "tensorflow"
    return build_image(folder / "Dockerfile", folder, TENSORFLOW_IMAGE, {})


def trackers_image() -> Path:
    """The torch image with the experiment trackers as an archive for `Bed.load_image`."""
    folder = REPOSITORY / "images" / "trackers"
    return build_image(folder / "Dockerfile", folder, TRACKERS_IMAGE, {"BASE": TORCH_IMAGE}, on=torch_image())


def bundled_image() -> Path:
    """An image that has the agent and the SDK installed, as an archive for `Bed.load_image`."""
    return build_image(SOURCE / "bundled.Dockerfile", REPOSITORY, BUNDLED_IMAGE, {})


# What Paceline runs with, and that with what only tests need.
OWN = (operator_image, torch_image)
ALL = (*OWN, trackers_image, tensorflow_image, bundled_image)


def build_image(
    dockerfile: Path, context: Path, tag: str, build_args: Mapping[str, str], *, on: Path | None = None
) -> Path:
    """Build an image and return it as a docker archive, cached by content.

    Args:
        dockerfile: Works with `docker build` too. Its `ARG BASE=python:...` or `pytorch/...` is replaced by a local
            base made of Debian packages, unless `build_args` sets BASE.
        context: Only what the Dockerfile copies from it counts for the cache.
        tag: Complete name: `docker.io/...:tag`.
        build_args: As for `docker build --build-arg`.
        on: Archive of the image that BASE names, where that is one of ours.
    """
    text = dockerfile.read_text()
    arguments = dict(build_args)
    base = None if "BASE" in arguments else bases.standing_for(default_base(text))
    if base:
        arguments = {"BASE": base.image, **base.build_args, **arguments}
    key = content_key(text, context, tag, {**arguments, "on": on.stem} if on else arguments)
    name = _slug(tag)
    target = paths.cache() / "images" / "built" / f"{name}-{key}.tar"
    if target.exists():
        return target
    with paths.lock(f"image-{name}"):
        if target.exists():
            return target
        progress = Progress(2 if base else 1)
        with progress.shown():
            preflight.install_packages(preflight.IMAGE_PACKAGES, progress)
            if base:
                with progress.step(f"base image {base.key} from Debian packages"):
                    bases.ensure(base)
            with progress.step(f"build image {tag}"):
                # An archive may come from a cache that has nothing of buildah's.
                if on and not buildah("images", "--quiet", arguments["BASE"], check=False).strip():
                    buildah("pull", "--quiet", f"docker-archive:{on}")
                _build(dockerfile, context, tag, arguments, target)
    return target


def _slug(tag: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", tag.lower())


def default_base(dockerfile: str) -> str:
    """The default of `ARG BASE` in a Dockerfile, empty where it has none."""
    found = re.search(r"^ARG\s+BASE=(\S+)", dockerfile, re.MULTILINE)
    return found.group(1) if found else ""


def stages(dockerfile: str) -> list[str]:
    """The names of a Dockerfile's stages, in their order."""
    return re.findall(r"^FROM\s+\S+\s+AS\s+(\S+)", dockerfile, re.MULTILINE)


def copied_paths(dockerfile: str) -> list[str]:
    """What a Dockerfile copies from its context: the sources of COPY and ADD, without those from other stages."""
    joined = dockerfile.replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        if not re.match(r"\s*(COPY|ADD)\s", line):
            continue
        words = shlex.split(line)[1:]
        if any(word.startswith("--from=") for word in words):
            continue
        found += [word for word in words if not word.startswith("--")][:-1]
    return found


def content_key(dockerfile: str, context: Path, tag: str, arguments: Mapping[str, str]) -> str:
    """A digest of everything that the image is made of."""
    digest = hashlib.sha256(repr((dockerfile, tag, sorted(arguments.items()))).encode())
    for pattern in copied_paths(dockerfile):
        for start in sorted(context.glob(pattern)) if pattern != "." else [context]:
            for path in sorted(start.rglob("*")) if start.is_dir() else [start]:
                if path.is_file() and "__pycache__" not in path.parts:
                    digest.update(f"{path.relative_to(context)} {path.stat().st_mode:o}".encode())
                    digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def _build(dockerfile: Path, context: Path, tag: str, arguments: Mapping[str, str], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
    options += [f"--volume={path}:{path}:ro" for path in _HOST_FILES if Path(path).exists()]
    # Layers are cached: a change of sources does not install the dependencies again. chroot: no runtime, no network
    # set-up, and the machine's own connection for pip.
    common = ["--layers", "--isolation=chroot", "--pull=false", "--format=docker"]

    def bud(*more: str) -> None:
        buildah("bud", *common, *options, *more, "--file", str(dockerfile), str(context))

    # What no image is made on top of goes with the next pruning of nameless layers, cache or not.
    for stage in stages(dockerfile.read_text()):
        bud("--target", stage, "--tag", f"localhost/paceline-stage:{_slug(tag)}-{stage}")
    bud("--tag", tag)
    buildah("push", "--quiet", tag, f"docker-archive:{temporary}:{tag}")
    temporary.replace(target)
    for old in target.parent.glob(f"{target.name.rpartition('-')[0]}-*.tar"):
        if old != target:
            old.unlink(missing_ok=True)
            imagestore.used_file(old).unlink(missing_ok=True)
