"""A directory that every pod mounts (NFS, a PersistentVolumeClaim), or this machine's own disk."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from paceline.storage import checksum
from paceline.storage._base import PARTIAL_PREFIX, Entry, probe
from paceline.storage._errors import StorageError, StorageNotFoundError, disk_error
from paceline.storage._local_files import copy, sync_directory

_PARTIAL = PARTIAL_PREFIX


class LocalStorage:
    """Plain files. A commit is a hard link made once (O_EXCL semantics, also on NFS), after fsync."""

    scheme = "file"
    exclusive = True

    def uri(self, path: str) -> str:
        """The path itself."""
        return path

    def check(self, path: str) -> None:
        """Create the directory, and write, read and delete one file in it."""
        probe(self, path)

    def read(self, path: str) -> bytes:
        """The whole content."""
        try:
            return Path(path).read_bytes()
        except OSError as e:
            raise _error("read", path, e) from e

    def get_range(self, path: str, offset: int, length: int) -> bytes:
        """A part of the content."""
        try:
            with Path(path).open("rb") as f:
                f.seek(offset)
                return f.read(max(0, length))
        except OSError as e:
            raise _error("read", path, e) from e

    def write(self, path: str, data: bytes) -> None:
        """Write beside, fsync, rename."""
        try:
            partial = _write_partial(Path(path), data)
            partial.replace(path)
            sync_directory(Path(path).parent)
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
            sync_directory(Path(path).parent)
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
                copy(Path(local), partial, checksum.best(), durable=True)
                partial.replace(target)
                sync_directory(target.parent)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as e:
            raise _error("write", path, e) from e

    def get_file(self, path: str, local: str) -> None:
        """Copy beside, rename."""
        partial = Path(f"{local}.{threading.get_ident()}.partial")
        try:
            shutil.copyfile(path, partial)
            partial.replace(local)
        except OSError as e:
            partial.unlink(missing_ok=True)
            raise _error("read", path, e) from e

    def files(self, directory: str) -> Iterator[Entry]:
        """Every file below."""
        for root, _, names in os.walk(directory, onerror=_unless_gone):
            for name in names:
                if name.startswith(_PARTIAL):
                    continue
                file = Path(root) / name
                try:
                    size = file.stat().st_size
                except FileNotFoundError:
                    continue
                except OSError as e:
                    raise _error("list", str(file), e) from e
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
            found = Path(path).stat()
            return None if stat.S_ISDIR(found.st_mode) else found.st_size
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
    partial = _beside(target.parent) / _partial_name(target.name)
    try:
        with partial.open("xb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return partial


def _beside(directory: Path) -> Path:
    """Where a file is written before it gets its name: not in the directory itself, where a crash would leave it for
    ever among the files of a committed checkpoint. In it only where the directory above cannot be used."""
    above = directory.parent
    try:
        usable = above.stat().st_dev == directory.stat().st_dev and os.access(above, os.W_OK | os.X_OK)
    except OSError:
        return directory
    return above if usable else directory


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


def _unless_gone(error: OSError) -> None:
    # Without this a directory that may not be read would look empty.
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise _error("list", str(error.filename), error) from error


def _error(action: str, path: str, error: OSError) -> StorageError:
    if isinstance(error, FileNotFoundError):
        return StorageNotFoundError(f"cannot {action} {path}: no such file or directory")
    return disk_error(f"{action} {path}", error)
