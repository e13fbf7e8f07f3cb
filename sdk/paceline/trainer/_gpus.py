"""Which GPUs of this machine may a run use? Counted without any framework, which would take them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
_DRIVER = Path("/proc/driver/nvidia/gpus")
_ANSWER_S = 30.0


def choose(environ: Mapping[str, str], *, workers: int, per_worker: int) -> tuple[str, ...]:
    """The devices for a run, as CUDA_VISIBLE_DEVICES names them: the first so many that may be used.

    Raises:
        ValueError: There are fewer than the run asks for.
    """
    needed = workers * per_worker
    if not needed:
        return ()
    devices = visible(environ)
    if len(devices) >= needed:
        return devices[:needed]
    how = f"{VISIBLE}={environ[VISIBLE]!r} leaves {len(devices)}" if VISIBLE in environ else _how_many(len(devices))
    fits = len(devices) // per_worker
    way_out = f"use num_workers={fits}" if fits else "use_gpu=False trains on the CPU"
    raise ValueError(
        f"ScalingConfig asks for {needed} GPU{'s' if needed > 1 else ''} ({workers} workers with {per_worker} each),"
        f" and {how}: {way_out}, or run on a cluster with backend=Kubernetes(...)"
    )


def visible(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Devices that this process may use."""
    given = environ.get(VISIBLE)
    if given is None:
        return tuple(str(i) for i in range(_count()))
    names = []
    for name in given.split(","):
        # CUDA takes a list up to its first name that is none.
        if not name.strip() or name.strip().startswith("-"):
            break
        names.append(name.strip())
    return tuple(names)


def _how_many(count: int) -> str:
    return "this machine has none" if not count else f"this machine has {count}"


def _count() -> int:
    try:
        return sum(1 for entry in _DRIVER.iterdir() if entry.is_dir())
    except OSError:
        pass  # no driver, or one that does not tell (WSL, some containers)
    try:
        told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_ANSWER_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(1 for line in told.stdout.splitlines() if line.startswith("GPU "))
