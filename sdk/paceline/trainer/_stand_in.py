"""`python -m paceline.trainer._stand_in DIRECTORY`: what the agent runs while the function runs in its caller.

It hands its environment over and ends as it is told: so the agent behind a run under a debugger is the real one.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

ENVIRONMENT = "environment.json"
END = "end"


def main(directory: Path) -> int:
    """Hand over, wait, and return the exit code of the function's run."""
    new = directory / f".{ENVIRONMENT}"
    new.write_text(json.dumps(dict(os.environ)))
    new.replace(directory / ENVIRONMENT)
    with (directory / END).open("rb") as end:
        told = end.readline().strip()
    return int(told) if told.isdigit() else 1  # nothing told: the caller is gone


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
