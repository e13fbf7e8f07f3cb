"""What the agent of a local attempt finds: its environment, free ports, the caller's module path."""

from __future__ import annotations

import os
import socket
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from paceline import _contract as c
from paceline.trainer import _gpus

LOOPBACK = "127.0.0.1"

_RANKS = (
    c.RANK, c.WORLD_SIZE, c.LOCAL_RANK, c.LOCAL_WORLD_SIZE, c.NODE_RANK, c.GROUP_RANK, c.MASTER_ADDR, c.MASTER_PORT,
    c.TF_CONFIG,
)  # fmt: skip
_KEPT = (c.STORAGE, c.LOCAL_CACHE_DIR, c.TRACKING_PREFLIGHT)


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what another run has left in it."""
    return {
        name: value
        for name, value in environ.items()
        if name in _KEPT or not (name in _RANKS or name.startswith("PACELINE_"))
    }


def ranks(world_size: int, master_port: int) -> dict[str, str]:
    """One agent has all processes."""
    return {
        c.WORLD_SIZE: str(world_size),
        c.LOCAL_WORLD_SIZE: str(world_size),
        c.MASTER_ADDR: LOOPBACK,
        c.MASTER_PORT: str(master_port),
    }


def devices(given: Sequence[str]) -> dict[str, str]:
    """Every process sees the devices of the whole attempt and takes its own by its local rank, as in a pod. A run that
    asked for none sees none, as in a pod."""
    return {_gpus.VISIBLE: ",".join(given)}


def free_ports(count: int) -> list[int]:
    """Ports that are free now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind((LOOPBACK, 0))
        return [int(sock.getsockname()[1]) for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def python_path(path: Sequence[str], cwd: str) -> str:
    """PYTHONPATH by which another Python finds what this one finds, its script's directory too.

    Args:
        path: `sys.path`. What any Python of this installation has anyway is left out.
        cwd: What an empty or relative entry stands for.
    """
    own = _installation()
    entries = [os.path.normpath(Path(cwd, entry)) for entry in path]
    return os.pathsep.join(dict.fromkeys(entry for entry in entries if not _is_below(entry, own)))


def _installation() -> tuple[str, ...]:
    import site

    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    zipped = [str(Path(path).parent / f"python{sysconfig.get_python_version().replace('.', '')}.zip") for path in paths]
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return tuple({*paths, *zipped, *user, *site.getsitepackages()})


def _is_below(entry: str, roots: Sequence[str]) -> bool:
    return any(entry == root or entry.startswith(root + os.sep) for root in roots)
