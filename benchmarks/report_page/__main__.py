"""Draws the plots and writes their page.

python -m benchmarks.report_page --write              # docs/benchmarks/
python -m benchmarks.report_page --png /tmp/plots     # to look at
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.report_page import page
from benchmarks.report_page.draw import draw

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results"
FOLDER = ROOT / "docs/benchmarks"
PAGE = FOLDER / "plots.md"


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or pictures of its plots."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report_page", description="The plots of the benchmarks."
    )
    parser.add_argument("--write", action="store_true", help=f"write the page and its plots to {FOLDER.name}/")
    parser.add_argument("--png", type=Path, help="draw the plots as PNG into this folder")
    options = parser.parse_args(arguments)
    if not options.write and options.png is None:
        parser.error("say what to make: --write, or --png FOLDER")
    results = read(RESULTS)
    charts = page.charts(results)
    if options.png:
        options.png.mkdir(parents=True, exist_ok=True)
        for chart in charts:
            print(draw(chart, options.png, "png"))
    if options.write:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for left in FOLDER.glob("*.svg"):
            left.unlink()
        for chart in charts:
            draw(chart, FOLDER)
        PAGE.write_text(page.render(results))
        print(f"{PAGE.relative_to(ROOT)} and {len(charts)} plots")
    return 0


def read(folder: Path) -> dict[str, Any]:
    """Return the figures of each file there, by its name without suffix."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


if __name__ == "__main__":
    sys.exit(main())
