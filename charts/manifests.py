"""What the chart is the source of: the kustomize base and the values table of the chart's README.

`python -m charts.manifests --write` writes both, `--check` says what is out of date. It needs the test bed's helm,
which is built where it is missing (Go; about two minutes).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster.binaries import binary

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "paceline"
NAMESPACE = "paceline-system"
HEADER = "# Generated from charts/paceline by `python -m charts.manifests --write`: change the chart instead.\n"
TABLE_START, TABLE_END = "<!-- values: generated -->\n", "<!-- /values -->\n"
# Helm's own marks; the checksum's part is played by the hash that kustomize adds to the ConfigMap's name.
_HELM_LABELS = ("helm.sh/chart", "app.kubernetes.io/managed-by")
_CHECKSUM = "checksum/config"


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the chart."""

    path: str
    default: Any
    description: str


def generated() -> dict[str, str]:
    """Return path from the root of the repository and text of each generated file."""
    cluster, namespaced = _render([]), _render([NAMESPACE])
    readme = (CHART / "README.md").read_text()
    before, after = readme.split(TABLE_START)[0], readme.split(TABLE_END)[1]
    return {
        "config/operator/operator.yaml": _text(_operator(cluster)),
        "config/rbac/cluster/rbac.yaml": _text(_rbac(cluster)),
        "config/rbac/namespaced/rbac.yaml": _text(_rbac(namespaced)),
        "config/default/config.yaml": HEADER + _config(cluster),
        "config/default/networkpolicy.yaml": _text(_kind(cluster, "NetworkPolicy")),
        "config/namespaced/config.yaml": HEADER + _config(namespaced),
        "config/namespaced/networkpolicy.yaml": _text(_kind(namespaced, "NetworkPolicy")),
        "charts/paceline/README.md": before + TABLE_START + values_table() + TABLE_END + after,
    }


def values() -> list[Value]:
    """Return every value that a user may set, in the order of values.yaml."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    return [value for value in _walk(schema, defaults, "") if value.path != "global"]


def values_table() -> str:
    """Return the table of the values in Markdown."""
    rows = [f"| `{value.path}` | `{json.dumps(value.default)}` | {value.description} |\n" for value in values()]
    return "| value | default | meaning |\n|---|---|---|\n" + "".join(rows)


def _walk(schema: dict[str, Any], defaults: Any, path: str) -> Iterator[Value]:
    for name, part in schema["properties"].items():
        here = f"{path}.{name}" if path else name
        default = (defaults or {}).get(name)
        # Where the default is one thing to replace as a whole, its parts would only blur the table.
        if "properties" in part and isinstance(default, dict) and here not in {"resources", "strategy"}:
            yield from _walk(part, default, here)
        else:
            yield Value(here, default, part["description"])


def _render(watch_namespaces: list[str]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [
            binary("helm"),
            "template",
            "paceline",
            CHART,
            "-n",
            NAMESPACE,
            "--values",
            "-",
            "--set",
            "crds.install=false",
        ],
        input=json.dumps({"watchNamespaces": watch_namespaces}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"helm template: {done.stderr.strip()}")
    return [_without_helm(manifest) for manifest in yaml.safe_load_all(done.stdout) if manifest]


def _without_helm(manifest: dict[str, Any]) -> dict[str, Any]:
    for label in _HELM_LABELS:
        manifest["metadata"].get("labels", {}).pop(label, None)
    if manifest["kind"] == "Deployment":
        del manifest["spec"]["template"]["metadata"]["annotations"][_CHECKSUM]
        if not manifest["spec"]["template"]["metadata"]["annotations"]:
            del manifest["spec"]["template"]["metadata"]["annotations"]
    return manifest


def _operator(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kinds = ("ServiceAccount", "Service", "Deployment")
    return [*(found for kind in kinds for found in _kind(manifests, kind)), *_leader(manifests)]


def _leader(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [found for found in manifests if _is_rbac(found) and found["metadata"]["name"].endswith("-leader")]


def _rbac(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [found for found in manifests if _is_rbac(found) and found not in _leader(manifests)]


def _is_rbac(manifest: dict[str, Any]) -> bool:
    return bool(manifest["apiVersion"].startswith("rbac."))


def _kind(manifests: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [found for found in manifests if found["kind"] == kind]


def _config(manifests: list[dict[str, Any]]) -> str:
    return str(_kind(manifests, "ConfigMap")[0]["data"]["config.yaml"]).strip() + "\n"


def _text(manifests: list[dict[str, Any]]) -> str:
    return HEADER + yaml.safe_dump_all(manifests, sort_keys=False, width=120)


def main() -> int:
    """Write the files, or tell which are out of date; exit code 1 then."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the files")
    mode.add_argument("--check", action="store_true", help="exit with 1 when a file is out of date")
    arguments = parser.parse_args()
    stale = []
    for name, text in generated().items():
        path = ROOT / name
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if arguments.write:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    if stale:
        sys.stderr.write(f"{'wrote' if arguments.write else 'out of date'}: {', '.join(stale)}\n")
    return 1 if stale and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
