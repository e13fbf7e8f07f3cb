"""Spec, snapshot and now in; a Plan out. Pure: everything hard is decided, and tested, here."""

from __future__ import annotations

from paceline_operator.planning.plan import Note, Plan
from paceline_operator.planning.planner import plan

__all__ = ["Note", "Plan", "plan"]
