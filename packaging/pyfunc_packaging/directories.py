"""Make a directory out of sight, and put it in its place in one step.

Until it is finished it lies in a hidden folder beside its place, which its process holds by a lock.
A process that is killed leaves the folder, not the lock: whoever makes the same directory next
removes what nobody holds.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyfunc_packaging.errors import CannotWrite

#: What the disk is to blame for; everything else that the system says is a fault of ours.
_OF_THE_DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in a line why nothing can be written at a path.

    Parameters
    ----------
    path : pathlib.Path
        What should have come into being.

    Raises
    ------
    CannotWrite
        If the disk is full, broken or read-only, or a folder belongs to somebody else.

    Examples
    --------
    >>> try:
    ...     with writing(Path("model")):
    ...         raise OSError(errno.ENOSPC, "No space left")
    ... except CannotWrite as error:
    ...     print(str(error).partition(";")[0])
    model: cannot be written ([Errno 28] No space left)
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        raise CannotWrite(
            f"{path}: cannot be written ({error}); nothing was put there: make room, or"
            f" choose another path"
        ) from error


@contextmanager
def staging_beside(path: Path) -> Iterator[Path]:
    """A hidden folder beside a path, for what will be put there; it is gone afterwards.

    Parameters
    ----------
    path : pathlib.Path
        Its parent is made if it is not there.

    Yields
    ------
    pathlib.Path

    Raises
    ------
    CannotWrite
        If the disk allows no folder there.

    Examples
    --------
    >>> folder = tempfile.TemporaryDirectory()
    >>> with staging_beside(Path(folder.name, "model")) as staging:
    ...     print(staging.is_dir(), staging.name[:15])
    True .model-staging-
    >>> staging.exists()
    False
    >>> folder.cleanup()
    """
    prefix = f".{path.name}-staging-"
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
            raise CannotWrite(
                f"{path}: expected a folder in {path.parent}, and none can be there"
                f" ({error.strerror}); choose another path"
            ) from error
        _remove_abandoned(path.parent, prefix)
        staging = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    lock = _lock(staging)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the folders of processes that were killed."""
    name = re.compile(re.escape(prefix) + "[a-z0-9_]{8}")  # as `tempfile.mkdtemp` names them
    for folder in parent.iterdir():
        if name.fullmatch(folder.name) and (lock := _lock(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds a folder; None if another process does, or where none can."""
    with suppress(OSError):
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
        else:
            return lock
    return None


#: Of Linux: the two names are exchanged.
_RENAME_EXCHANGE = 2
#: Relative names are those of the current folder.
_AT_FDCWD = -100


def swap(staging: Path, path: Path) -> None:
    """Put a finished directory in the place of one that is there, which is removed.

    On Linux the two are exchanged in one step. Elsewhere, and on file systems that cannot, the old
    one steps aside first: a process that is killed at that moment leaves nothing at the path, and
    the old one in ``.NAME-previous-…``.

    Parameters
    ----------
    staging : pathlib.Path
        The new directory, beside `path`.
    path : pathlib.Path
        The directory that is replaced.

    Examples
    --------
    >>> folder = tempfile.TemporaryDirectory()
    >>> old, new = Path(folder.name, "old"), Path(folder.name, "new")
    >>> for directory in (old, new / "content"):
    ...     directory.mkdir(parents=True)
    >>> swap(new, old)
    >>> [entry.name for entry in Path(folder.name).rglob("*")]
    ['old', 'content']
    >>> folder.cleanup()
    """
    if _exchange(staging, path):
        shutil.rmtree(staging, ignore_errors=True)
        return
    previous = Path(tempfile.mkdtemp(prefix=f".{path.name}-previous-", dir=path.parent))
    os.rename(path, previous / path.name)
    try:
        os.rename(staging, path)
    except OSError:
        os.rename(previous / path.name, path)
        previous.rmdir()
        raise
    shutil.rmtree(previous, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step, where the system can."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)
