"""Which rule of `failurePolicy.rules` speaks about a failure?"""

from __future__ import annotations

from collections.abc import Sequence

from paceline.api import FailureRule, reasons


def matching(rules: Sequence[FailureRule], cause: str, exit_code: int | None) -> int | None:
    """Return the index of the first rule that matches, None where none does.

    An exit code speaks for a worker that ended by itself: one that was stopped from outside (evicted, lost, deleted)
    exits with the code of the signal, which says nothing about the script.
    """
    by_itself = cause not in reasons.FROM_OUTSIDE
    for index, rule in enumerate(rules):
        codes = not rule.exit_codes or (by_itself and exit_code in rule.exit_codes)
        if codes and (not rule.reasons or cause in rule.reasons):
            return index
    return None
