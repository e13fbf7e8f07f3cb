"""Kubernetes quantities: per worker in the spec, per pod in the manifest."""

from __future__ import annotations

import re
from decimal import Decimal

_SUFFIX = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10) ** 3,
    "K": Decimal(10) ** 3, "M": Decimal(10) ** 6, "G": Decimal(10) ** 9, "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15, "E": Decimal(10) ** 18, "Ki": Decimal(2) ** 10, "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30, "Ti": Decimal(2) ** 40, "Pi": Decimal(2) ** 50, "Ei": Decimal(2) ** 60,
}  # fmt: skip
_PARTS = re.compile(r"^([0-9.]+)(.*)$")


def value(quantity: str) -> Decimal:
    """Return the plain number of a quantity that the schema has accepted (`500m` -> 0.5)."""
    number, unit = _split(quantity)
    return number * (_SUFFIX[unit] if unit in _SUFFIX else Decimal(f"1{unit}"))


def times(quantity: str, factor: int) -> str:
    """Return `factor` times the quantity, in its own unit (`500m` x 4 -> `2000m`)."""
    if factor == 1:
        return quantity
    number, unit = _split(quantity)
    return f"{(number * factor).normalize():f}{unit}"


def _split(quantity: str) -> tuple[Decimal, str]:
    match = _PARTS.match(quantity)
    if match is None:
        raise ValueError(f"{quantity!r} is no quantity: write it as 4, 500m or 16Gi")
    return Decimal(match[1]), match[2]
