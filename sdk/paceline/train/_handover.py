"""Files of a checkpoint go to the agent: by hard link where that is safe, else by copy.

A hard link costs nothing but shares its content with the original: if that is written again before it is stored, the
checkpoint would be torn. In a temporary directory nobody does so; elsewhere a directory may well be used again and
again, so there the files are copied (by the kernel, which shares blocks where the file system can).
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paceline import _contract as c

if TYPE_CHECKING:
    from paceline.train._checkpoint import Checkpoint
    from paceline.train._client import Client

_numbers = itertools.count()
_used: set[tuple[str, int]] = set()  # directories (path, inode) that were reported before


def local_directory(checkpoint: Checkpoint) -> Path:
    """The checkpoint's directory.

    Raises:
        TypeError: It is not a Checkpoint.
        ValueError: It is remote, or not there.
    """
    from paceline.train._checkpoint import Checkpoint

    if not isinstance(checkpoint, Checkpoint):
        raise TypeError(
            f"checkpoint is a {type(checkpoint).__name__}: pass Checkpoint.from_directory(<local directory>)"
        )
    path = checkpoint._local_path()
    if path is None:
        raise ValueError(f"{checkpoint.path} is stored already: report a local directory")
    if not path.is_dir():
        raise ValueError(f"the checkpoint directory {path} does not exist, or is not a directory")
    return path


def check_name(name: str) -> None:
    """Refuse what cannot be a checkpoint's directory.

    Raises:
        TypeError, ValueError: The message says why.
    """
    from paceline.agent import names

    if not isinstance(name, str):
        raise TypeError(f"checkpoint_dir_name is a {type(name).__name__}: give a text")
    if problem := names.directory_problem(name):
        raise ValueError(problem)


def admit(client: Client, name: str | None, *, named: bool) -> str:
    """Wait until the agent takes one more checkpoint; the checkpoint's name comes back.

    Args:
        named: A name is needed, also where the user gave none.
    Raises:
        RuntimeError: The agent takes none; the message says why.
    """
    if name is None and not named and checked(client.ask('{"t":"room"}'))["room"]:
        return ""
    return str(checked(client.request({"t": "admit", "name": name}))["name"])


def wait_for_space(client: Client) -> bool:
    """Wait until something staged has been stored and removed. False: nothing will be."""
    return bool(checked(client.request({"t": "space"}))["freed"])


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer of the agent.

    Raises:
        RuntimeError: It is an error.
    """
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer


def uploaded(upload: Callable[[Checkpoint, str], Checkpoint], checkpoint: Checkpoint, name: str) -> str:
    """Let the user's function store the files; the URI that it names comes back.

    Raises:
        TypeError: It returns something else.
    """
    from paceline.train._checkpoint import Checkpoint

    stored = upload(checkpoint, name)
    if not isinstance(stored, Checkpoint):
        raise TypeError(
            f"checkpoint_upload_fn returned a {type(stored).__name__}: return a Checkpoint of where the files are"
        )
    if not stored._is_named_by_uri():
        raise TypeError(
            f"checkpoint_upload_fn returned {stored!r}: nobody else has that filesystem object, so name the place by a"
            " URI, such as Checkpoint('s3://bucket/prefix')"
        )
    return stored.uri


def stage(source: Path, *, freed: Callable[[], bool] = lambda: False) -> Path:
    """Link or copy every file below `source` into a new directory of the agent, and return that.

    Args:
        freed: Called when the disk is full; waits until the agent has stored something and removed it. False: there
            is nothing to wait for.
    Raises:
        ValueError: Something below is neither a file nor a directory, or lies elsewhere.
        OSError: A file cannot be read, or the disk is full and stays so.
    """
    link, again = _may_link(source), True
    while True:
        try:
            return _try_stage(source, link=link)
        except OSError as e:
            if e.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            if not again:
                raise _no_space(source, e) from e
        # When nothing is waited for, something may have come free before it was asked: one try more.
        again = freed()


def _try_stage(source: Path, *, link: bool) -> Path:
    target = Path(os.environ[c.STAGING]) / f"rank{os.environ.get(c.RANK, '0')}-{os.getpid()}-{next(_numbers)}"
    target.mkdir(parents=True)
    try:
        _stage(source, target, root=source.resolve(), link=link, above=())
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def _no_space(source: Path, error: OSError) -> OSError:
    staging = os.environ[c.STAGING]
    size = sum(file.stat().st_size for file in source.rglob("*") if file.is_file())
    return OSError(
        error.errno,
        f"no space to keep a checkpoint of {size} bytes until it is stored ({shutil.disk_usage(staging).free} bytes are"
        f" free at {staging}, and nothing waits there that would come free): write it to a temporary directory, which"
        " needs no second copy, or give the pod more ephemeral storage",
    )


def _may_link(source: Path) -> bool:
    real = source.resolve()
    # The name too: file systems give a deleted directory's inode to the next one.
    identity = str(real), source.stat().st_ino
    again = identity in _used
    _used.add(identity)
    temporary = {Path(p).resolve() for p in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm")}
    return not again and any(parent in temporary for parent in real.parents)


def _stage(source: Path, target: Path, *, root: Path, link: bool, above: tuple[Path, ...]) -> None:
    real = source.resolve()
    if real in above:
        raise ValueError(f"{source} is a link to a directory that contains it: remove the link")
    for entry in os.scandir(source):
        outside = entry.is_symlink() and _leads_out(Path(entry.path), root)
        into = target / entry.name
        if entry.is_dir():
            into.mkdir()
            _stage(Path(entry.path), into, root=root, link=link, above=(*above, real))
        elif stat.S_ISREG(entry.stat().st_mode):
            # The commit of an earlier checkpoint, when a downloaded one is reported again.
            if above or entry.name != c.COMMIT_FILE:
                # Nothing is known of who writes where a link leads: its content is copied.
                _stage_file(os.path.realpath(entry.path), into, link=link and not outside)
        else:
            raise ValueError(f"{entry.path} is neither a file nor a directory: it cannot be part of a checkpoint")


def _leads_out(link: Path, root: Path) -> bool:
    """Whether a link names something outside of the checkpoint's directory: a file may, as in download caches.

    Raises:
        ValueError: It leads nowhere, round in a circle, or to a directory that is not the checkpoint's own.
    """
    try:
        found = link.resolve(strict=True)
    except FileNotFoundError:
        raise ValueError(f"{link} is a link to {link.readlink()}, which is not there: remove the link") from None
    except (OSError, RuntimeError):  # ELOOP; RuntimeError up to Python 3.12
        raise ValueError(f"{link} is a link that leads to itself: remove the link") from None
    if found.is_relative_to(root):
        return False
    if found.is_dir():
        raise ValueError(
            f"{link} is a link to the directory {found}, outside of the checkpoint's directory {root}: copy what it"
            " names into the directory"
        )
    return True


def _stage_file(source: str, target: Path, *, link: bool) -> None:
    if link:
        try:
            os.link(source, target)
        except OSError:  # another file system, or none that links
            pass
        else:
            return
    shutil.copyfile(source, target)
