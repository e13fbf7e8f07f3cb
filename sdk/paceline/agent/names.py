"""Which names may a checkpoint's directory and its files have? Pure; the SDK asks before a report, the agent again."""

from __future__ import annotations

import re

from paceline import _contract as c

_LONGEST = 200
_SEGMENT = re.compile(r"[A-Za-z0-9._=-]+")
_NUMBERED = re.compile(rf"{c.CHECKPOINT_PREFIX}\d+")
_OWN = frozenset({c.STATE_DIR, c.ARTIFACTS_DIR, c.RESULT_FILE, c.PROGRESS_FILE, c.PARAMS_FILE, c.ERROR_FILE})


def directory_problem(name: str) -> str:
    """Why `name` cannot be a checkpoint's directory; empty when it can."""
    way_out = "give one name of letters, digits and . _ = -, such as step=1000"
    if not name or len(name) > _LONGEST:
        return f"checkpoint_dir_name has {len(name)} characters: 1 to {_LONGEST} are possible"
    if not _SEGMENT.fullmatch(name):
        return f"checkpoint_dir_name={name!r} is no name of a directory in the run's directory: {way_out}"
    if name.startswith("."):
        return f"checkpoint_dir_name={name!r} begins with a dot, which hides it: {way_out}"
    if name in _OWN or name.startswith(c.EVENTS_PREFIX):
        return f"checkpoint_dir_name={name!r} is what the run itself writes: take another name"
    if _NUMBERED.fullmatch(name):
        return f"checkpoint_dir_name={name!r} is how Paceline numbers checkpoints: leave it out, or take another name"
    return ""


def file_problem(name: str) -> str:
    """Why `name` cannot be the relative name of a checkpoint's file; empty when it can."""
    if not name or name.startswith("/") or "\0" in name:
        return f"{name!r} is no relative file name: the files of a checkpoint lie below its directory"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return f"{name!r} leads out of the checkpoint's directory: give the file a plain name"
    if name == c.COMMIT_FILE:
        return f"{name} is the file that makes a checkpoint exist: Paceline alone writes it"
    return ""
