"""Generate the CRD and the reference page from the models: `python -m paceline.api.crd --write` or `--check`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from paceline.api import names
from paceline.api.reference import reference_page
from paceline.api.schema import trainjob_schema

CRD_FILE = f"crds/{names.GROUP}_{names.PLURAL}.yaml"
CHART_FILE = "charts/paceline/files/crd.yaml"
KUSTOMIZE_FILE = f"config/crd/{names.GROUP}_{names.PLURAL}.yaml"
REFERENCE_FILE = "docs/reference/trainjob.md"

_HEADER = "# Generated from paceline.api by `python -m paceline.api.crd --write`: change the models instead.\n"
# What `kubectl get tj` shows.
_COLUMNS = (
    ("Phase", "string", ".status.phase", "Where the job is."),
    ("Workers", "string", ".status.workers.ready", "Workers that run or ended well, out of those asked for."),
    ("Step", "integer", ".status.progress.step", "Step of the newest report."),
    ("Checkpoint", "integer", ".status.checkpoint.index", "Number of the latest committed checkpoint."),
    ("Restarts", "integer", ".status.restarts", "Restarts after failures."),
    ("Age", "date", ".metadata.creationTimestamp", "Time since the job was created."),
)


def crd() -> dict[str, Any]:
    """Return the CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": [names.SHORT_NAME],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "selectableFields": [{"jsonPath": ".status.phase"}],
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "description": description}
                        for name, kind, path, description in _COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": trainjob_schema()},
                }
            ],
        },
    }


def crd_text() -> str:
    """Return the CRD as the files hold it."""
    # Only whoever generates needs it: readers of the models do without.
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return _HEADER + yaml.dump(crd(), Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True)


def generated() -> dict[str, str]:
    """Return path from the root of the repository and text of each generated file."""
    text = crd_text()
    return {CRD_FILE: text, CHART_FILE: text, KUSTOMIZE_FILE: text, REFERENCE_FILE: reference_page(trainjob_schema())}


def main(argv: list[str] | None = None) -> int:
    """Write the files, or say which of them are stale (exit code 1)."""
    parser = argparse.ArgumentParser(prog="python -m paceline.api.crd", description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the files")
    mode.add_argument("--check", action="store_true", help="fail when a file differs from the models")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the repository")
    options = parser.parse_args(argv)
    files = generated()
    if options.write:
        for name, text in files.items():
            path = options.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [name for name, text in files.items() if not _same(options.root / name, text)]
    for name in stale:
        sys.stderr.write(f"{name} differs from the models: run python -m paceline.api.crd --write\n")
    return 1 if stale else 0


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
