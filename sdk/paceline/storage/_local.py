"""A directory that every pod mounts (NFS, a PersistentVolumeClaim), or this machine's own disk."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from paceline.storage._base import Entry
from paceline.storage._errors import StorageError, StorageNotFoundError

# Files being written carry this prefix; nothing that lists a directory shows them.
_PARTIAL = ".paceline-partial-"
# Nothing that a person can wait out: the mount, its quota or its permissions must change.
_PERMANENT = {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.ENOTDIR, errno.ENAMETOOLONG}
_HINTS = {
    errno.EACCES: "make the directory writable for the pod's user (podTemplate securityContext.fsGroup), or mount it",
    errno.EPERM: "make the directory writable for the pod's user (podTemplate securityContext.fsGroup), or mount it",
    errno.ENOSPC: "the disk is full: free space, lower checkpoints.keep, or take a larger volume",
    errno.EDQUOT: "the quota is used up: free space, lower checkpoints.keep, or raise the quota",
    errno.EROFS: "the volume is mounted read-only: mount it read-write, or take another storage path",
}


class LocalStorage:
    """Plain files. A commit is a hard link made once (O_EXCL semantics, also on NFS), after fsync."""

    scheme = "file"

    def uri(self, path: str) -> str:
        """The path itself."""
        return path

    def check(self, path: str) -> None:
        """Create the directory and write, link and delete one file in it."""
        probe = str(Path(path) / f"{_PARTIAL}probe-{uuid.uuid4().hex}")
        self.write(probe, b"ok")
        self.delete(probe)

    def read(self, path: str) -> bytes:
        """The whole content."""
        try:
            return Path(path).read_bytes()
        except OSError as e:
            raise _error("read", path, e) from e

    def write(self, path: str, data: bytes) -> None:
        """Write beside, fsync, rename."""
        try:
            partial = _write_partial(Path(path), data)
            partial.replace(path)
            _sync_directory(Path(path).parent)
        except OSError as e:
            raise _error("write", path, e) from e

    def create_if_absent(self, path: str, data: bytes) -> bool:
        """Write beside, fsync, then link: the link fails when the name is taken."""
        partial: Path | None = None
        try:
            partial = _write_partial(Path(path), data)
            try:
                _link_new(partial, Path(path), data)
            except FileExistsError:
                return Path(path).read_bytes() == data
            _sync_directory(Path(path).parent)
        except OSError as e:
            raise _error("create", path, e) from e
        else:
            return True
        finally:
            if partial is not None:
                partial.unlink(missing_ok=True)

    def put_file(self, local: str, path: str) -> None:
        """Copy beside, fsync, rename."""
        target = Path(path)
        partial = target.with_name(_partial_name(target.name))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(local, partial)
                with partial.open("rb") as f:
                    os.fsync(f.fileno())
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as e:
            raise _error("write", path, e) from e

    def get_file(self, path: str, local: str) -> None:
        """Copy beside, rename."""
        partial = f"{local}.{threading.get_ident()}.partial"
        try:
            shutil.copyfile(path, partial)
            Path(partial).replace(local)
        except OSError as e:
            raise _error("read", path, e) from e

    def files(self, directory: str) -> Iterator[Entry]:
        """Every file below."""
        for root, _, names in os.walk(directory):
            for name in names:
                if name.startswith(_PARTIAL):
                    continue
                file = Path(root) / name
                try:
                    size = file.stat().st_size
                except FileNotFoundError:
                    continue
                yield Entry(file.relative_to(directory).as_posix(), size)

    def directories(self, directory: str) -> list[str]:
        """Names of the directories right below."""
        try:
            with os.scandir(directory) as entries:
                return sorted(e.name for e in entries if e.is_dir())
        except FileNotFoundError:
            return []
        except OSError as e:
            raise _error("list", directory, e) from e

    def size(self, path: str) -> int | None:
        """Bytes, or None."""
        try:
            return Path(path).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as e:
            raise _error("read", path, e) from e

    def delete(self, path: str) -> None:
        """Unlink."""
        try:
            Path(path).unlink(missing_ok=True)
        except OSError as e:
            raise _error("delete", path, e) from e

    def delete_directory(self, directory: str) -> None:
        """Remove the tree."""
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            return
        except OSError as e:
            raise _error("delete", directory, e) from e


def _partial_name(name: str) -> str:
    return f"{_PARTIAL}{name[:100]}-{uuid.uuid4().hex}"


def _write_partial(target: Path, data: bytes) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(_partial_name(target.name))
    try:
        with partial.open("xb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return partial


def _link_new(partial: Path, target: Path, data: bytes) -> None:
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError as e:
        # Some mounts (SMB, FUSE) know no hard links: O_EXCL is exclusive there, the content follows at once.
        if e.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        with target.open("xb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError:  # a few network file systems cannot sync a directory; the file itself is synced
        pass
    finally:
        os.close(fd)


def _error(action: str, path: str, error: OSError) -> StorageError:
    if isinstance(error, FileNotFoundError):
        return StorageNotFoundError(f"cannot {action} {path}: no such file or directory")
    said = error.strerror or str(error)
    hint = _HINTS.get(error.errno or 0)
    message = f"cannot {action} {path}: {said}" + (f"; {hint}" if hint else "")
    return StorageError(message, retryable=error.errno not in _PERMANENT)
