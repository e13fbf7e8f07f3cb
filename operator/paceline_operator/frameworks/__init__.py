"""What a framework adds to the pods: one module each, found by name in the registry."""

from __future__ import annotations

from paceline_operator.frameworks import plain, tensorflow, torch
from paceline_operator.frameworks.base import Framework, Group

REGISTRY: dict[str, Framework] = {"torch": torch.env, "tensorflow": tensorflow.env, "none": plain.env}

__all__ = ["REGISTRY", "Framework", "Group"]
