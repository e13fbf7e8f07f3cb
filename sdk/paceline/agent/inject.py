"""`python -m paceline.agent.inject DEST`: brings agent and SDK into the pod of any image with Python.

Runs in the init container. `DEST/run` is what the worker container then starts, in its own image.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from paceline import _contract as c

_SOURCE = "/opt/paceline"

# The shell finds Python, as nothing else is known of the image. `-c` exits 0 for 3.10 or newer.
_RUN = """\
#!/bin/sh
# Written by paceline.agent.inject: starts the agent with the image's own Python.
seen=""
for python in "${{PACELINE_PYTHON:-}}" python3 python; do
  [ -n "$python" ] || continue
  command -v "$python" >/dev/null 2>&1 || continue
  if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
    PYTHONPATH="{core}${{PYTHONPATH:+:$PYTHONPATH}}" exec "$python" -m paceline.agent.main -- "$@"
  fi
  seen="$seen $python ($("$python" --version 2>&1))"
done
if [ -n "$seen" ]; then
  message="this image has no Python 3.10 or newer, found only:$seen. Use an image with a newer Python."
else
  message="this image has no python3 on its PATH ($PATH). Use an image with Python 3.10 or newer."
fi
echo "[paceline] InvalidConfig: $message" >&2
# Without quotes and backslashes it is valid JSON; nothing but the shell can be relied on here.
set -f; IFS='"\\'; set -- $message; IFS=' '; message="$*"
printf '{{"version":1,"outcome":"failed","exitCode":{code},"failure":{{"reason":"InvalidConfig","exitCode":{code},"message":"%s"}}}}' \\
  "$message" > "${{PACELINE_TERMINATION_LOG:-/dev/termination-log}}" 2>/dev/null
exit {code}
"""  # noqa: E501


def inject(destination: Path, source: Path) -> None:
    """Copy `core`, `vendor` and `native` below `source` to `destination`, and write `run`, `home` and `tmp` there.

    Raises:
        OSError: Something is missing or cannot be written.
    """
    for name in ("core", "vendor", "native"):
        if name == "core" or (source / name).is_dir():
            _replace_tree(source / name, destination / name)
    run = destination / "run"
    run.write_text(_RUN.format(core=destination / "core", code=c.EXIT_INVALID_CONFIG), encoding="utf-8")
    run.chmod(0o755)
    for name in ("home", "tmp", "agent", "work"):
        directory = destination / name
        directory.mkdir(parents=True, exist_ok=True)
        # The worker container may run as another user than this one. The volume belongs to the pod alone.
        try:
            directory.chmod(0o1777 if name == "tmp" else 0o777)
        except PermissionError:
            if not os.access(directory, os.W_OK):
                raise
    # The agent makes directories of its own here.
    try:
        destination.chmod(0o777)
    except PermissionError:
        pass


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m paceline.agent.inject DEST", file=sys.stderr)  # noqa: T201
        return c.EXIT_INVALID_CONFIG
    source = Path(os.environ.get(c.INJECT_SOURCE) or _SOURCE)
    try:
        inject(Path(arguments[0]), source)
    except OSError as e:
        print(f"[paceline] cannot copy {source} to {arguments[0]}: {e}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _replace_tree(source: Path, target: Path) -> None:
    """A restarted init container meets its own earlier copy."""
    shutil.rmtree(target, ignore_errors=True)
    # Plain content and modes: the owner of the image's files means nothing here.
    shutil.copytree(source, target, copy_function=shutil.copy)
    for directory, _, files in os.walk(target):
        Path(directory).chmod(0o755)
        for name in files:
            path = Path(directory) / name
            path.chmod(0o755 if path.stat().st_mode & 0o111 else 0o644)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
