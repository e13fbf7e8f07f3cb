"""`python -m paceline.tracking.preflight`: can the trackers of `PACELINE_TRACKING` be used from here?

The agent of rank 0 runs it before any worker starts, in the environment of rank 0; you can too, in the same image. It
imports no tracker, takes 10 s at most for all together, and prints a line for each problem. Exit code 0: nothing keeps
the run from beginning; 64: credentials are missing or refused.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

from paceline import _contract as c
from paceline import _trackers
from paceline.tracking import _asking, _options
from paceline.tracking._asking import Problem

MISSING_LIBRARY = "MissingLibrary"
IGNORED = "InvalidTracking"


def problems(environ: Mapping[str, str]) -> list[Problem]:
    """What keeps the trackers from working that the environment names, those that end the run first."""
    try:
        told = _options.read(environ)
    except ValueError as e:
        return [Problem("", IGNORED, f"no tracker is used: {e}")]
    kinds = _options.kinds(told)
    if not kinds or told.get("preflight") is False:
        return []
    with ThreadPoolExecutor(len(kinds)) as pool:
        asked = list(pool.map(lambda kind: _asking.problem(kind, told[kind], environ), kinds))
    found = [problem for problem in asked if problem is not None]
    found += [Problem(kind, MISSING_LIBRARY, _options.missing(kind)) for kind in kinds if not _is_installed(kind)]
    return sorted(found, key=lambda problem: not problem.is_fatal)


def _is_installed(kind: str) -> bool:
    return find_spec(_trackers.MODULES[kind]) is not None


def main(arguments: Sequence[str]) -> int:
    """Look, tell, and return the exit code."""
    found = problems(os.environ)
    if "--json" in arguments:
        told = [{"kind": p.kind, "reason": p.reason, "message": p.message} for p in found]
        print(json.dumps({"problems": told}))  # noqa: T201
    else:
        for problem in found:
            print(f"{problem.kind}: {problem.reason}: {problem.message}")  # noqa: T201
    return c.EXIT_INVALID_CONFIG if any(problem.is_fatal for problem in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
