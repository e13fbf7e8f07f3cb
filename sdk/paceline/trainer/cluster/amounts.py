"""What a worker gets, as a TrainJob says it."""

from __future__ import annotations

from typing import Any

_PLACEMENTS = {"PACK": "Pack", "SPREAD": "Spread", "STRICT_PACK": "StrictPack", "STRICT_SPREAD": "StrictSpread"}
_UNITS = (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10))


def resources(*, cpus: float | None, memory_bytes: int | None, gpus: int) -> dict[str, Any]:
    """`spec.workers.resources`; nothing where nothing is asked for.

    Raises:
        ValueError: A pod cannot be given so little.
    """
    found: dict[str, Any] = {}
    if cpus:
        found["cpu"] = _cpu(cpus)
    if memory_bytes:
        found["memory"] = _memory(memory_bytes)
    if gpus:
        found["gpu"] = gpus
    return found


def placement(strategy: str) -> str:
    """`spec.workers.placement` of `PACK`, `SPREAD`, `STRICT_PACK` or `STRICT_SPREAD`."""
    return _PLACEMENTS[strategy]


def _cpu(cpus: float) -> str:
    thousandths = round(cpus * 1000)
    if thousandths == 0:
        raise ValueError(
            f'ScalingConfig.resources_per_worker["CPU"] is {cpus}: the least that a pod can be given is 0.001'
        )
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def _memory(size: int) -> str:
    unit, factor = next(((unit, factor) for unit, factor in _UNITS if size % factor == 0), ("", 1))
    return f"{size // factor}{unit}"
