"""`none`: the rank variables alone, which every pod has."""

from __future__ import annotations

from paceline_operator.frameworks.base import Group


def env(group: Group, index: int) -> dict[str, str]:
    """Nothing on top."""
    return {}
