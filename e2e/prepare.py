"""Build everything that the test bed and the tests need, before they need it: programs and images, into the cache."""

from __future__ import annotations

import shutil
import sys
import time

from e2e import stack
from e2e.cluster import build, preflight
from e2e.cluster.components import ALL, KUBECTL
from e2e.cluster.progress import Progress


def main() -> int:
    """Build what is missing; return 0, or 1 with the reason on stderr."""
    started = time.monotonic()
    missing = [c for c in ALL if not build.is_built(c) and not (c is KUBECTL and shutil.which("kubectl"))]
    try:
        if missing:
            progress = Progress(len(missing))
            with progress.shown():
                build.ensure_all(missing, progress)
        stack.build_images()
    except (build.BuildError, preflight.RefusedError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"programs and images are there after {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
