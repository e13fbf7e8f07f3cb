"""`python -m tests.crash.replay ID...`: run single crash cases, and print what each process said.

An id is what a failing case prints. `--keep` leaves the case's directory in place, `--times N` repeats.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.support import crash_agent
from tests.support.crash_case import Case
from tests.support.crash_slot import KEEP, Slot


def main() -> int:
    """Return 1 when a case failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ids", nargs="+")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--times", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.keep:
        os.environ[KEEP] = "1"
    crash_agent.preload()
    directory = Path(tempfile.mkdtemp(prefix="pcc-replay-"))
    # The last range of ports: the slots of a matrix that runs beside it begin with the first.
    slot = Slot(directory, 10)
    failed = 0
    try:
        for text in arguments.ids * arguments.times:
            outcome = slot.run(Case.from_id(text))
            failed += bool(outcome.problems)
            said = "FAILED" if outcome.problems else "ok" if outcome.reached else "NOT REACHED"
            print(f"{said} {outcome.seconds:.2f} s {text}", *outcome.problems, sep="\n  ")
            print(outcome.log)
    finally:
        slot.close()
    if arguments.keep:
        print(f"kept in {directory}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
