"""The user's working directory as a zip that goes along with the task."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

LIMIT_BYTES = 100 << 20
ALWAYS_LEFT_OUT = (
    ".git", ".hg", ".svn", ".venv", "venv", "__pycache__", "*.pyc", "node_modules", ".ipynb_checkpoints", ".DS_Store",
    ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".idea", ".vscode",
)  # fmt: skip
# The oldest time that a zip can tell: the same files make the same bytes, whenever they were written.
_TIME = (1980, 1, 1, 0, 0, 0)
_SHOWN = 3


def pack(directory: str | os.PathLike[str], exclude: Sequence[str] = ()) -> bytes:
    """Return a zip of a directory: the same files give the same bytes.

    Args:
        directory: Its files, through links to files, not through links to directories.
        exclude: Patterns such as `data`, `*.ckpt` or `runs/*`, matched with the name and with the path below the
            directory. What no run needs (`.git`, virtual environments, caches) is left out anyway.
    Raises:
        ValueError: There is no such directory, or it holds more than 100 MiB; the message names the largest files.
    """
    root = Path(directory).expanduser()
    if not root.is_dir():
        raise ValueError(f"Kubernetes.working_dir is {str(directory)!r}: there is no such directory")
    files = sorted(_files(root, (*ALWAYS_LEFT_OUT, *exclude)))
    sizes = {name: (root / name).stat().st_size for name in files}
    if (total := sum(sizes.values())) > LIMIT_BYTES:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:_SHOWN]
        told = ", ".join(f"{name} ({_mib(sizes[name])})" for name in largest)
        raise ValueError(
            f"Kubernetes.working_dir {str(root)!r} holds {_mib(total)}, and at most {_mib(LIMIT_BYTES)} travel with a"
            f" run; the largest: {told}. Leave data out by Kubernetes.exclude=[...] and read it from storage"
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in files:
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if os.access(root / name, os.X_OK) else 0o644) << 16
            archive.writestr(entry, (root / name).read_bytes())
    return buffer.getvalue()


def _files(root: Path, patterns: Sequence[str]) -> Iterator[str]:
    for folder, directories, files in os.walk(root):
        below = Path(folder).relative_to(root)
        directories[:] = [name for name in directories if not _left_out((below / name).as_posix(), patterns)]
        for name in files:
            path = (below / name).as_posix()
            if not _left_out(path, patterns) and (root / path).is_file():
                yield path


def _left_out(path: str, patterns: Sequence[str]) -> bool:
    name = path.rpartition("/")[2]
    return any(fnmatch(name, pattern) or fnmatch(path, pattern.rstrip("/")) for pattern in patterns)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
