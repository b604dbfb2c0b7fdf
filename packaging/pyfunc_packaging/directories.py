"""Put a finished directory in the place of another; say what a disk does not let us do."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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


def swap(staging: Path, path: Path) -> None:
    """Rename a finished directory over one that is there; on failure, that one comes back.

    Parameters
    ----------
    staging : pathlib.Path
        The new directory, beside `path`.
    path : pathlib.Path
        The directory that is replaced and removed.

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
    previous = Path(tempfile.mkdtemp(prefix=f".{path.name}-previous-", dir=path.parent))
    os.rename(path, previous / path.name)
    try:
        os.rename(staging, path)
    except OSError:
        os.rename(previous / path.name, path)
        previous.rmdir()
        raise
    shutil.rmtree(previous, ignore_errors=True)
