"""A file that is there as a whole or not at all, whenever its writer dies."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pyfunc_packaging.directories import writing
from pyfunc_packaging.errors import InvalidArgument, OutputExists


@contextmanager
def replaced_file(path: Path, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """Write a file beside its place, and move it there once it is on the disk.

    What a killed process left behind is written over by the next one.

    Parameters
    ----------
    path : pathlib.Path
    overwrite : bool
        Whether a file may be there already.

    Yields
    ------
    binary file

    Raises
    ------
    OutputExists
        If a file is there and may not be replaced, or another process is writing it.
    InvalidArgument
        If something is there that is no file, or its folder is not there.
    CannotWrite
        If the disk does not let us.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name, "scored.csv")
    >>> with replaced_file(path) as file:
    ...     print(file.write(b"x"), path.exists())
    1 False
    >>> path.read_bytes()
    b'x'
    >>> folder.cleanup()
    """
    check_free(path, overwrite=overwrite)
    beside = path.with_name(f".{path.name}.partial")
    with writing(path), _open_alone(beside, path) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            check_free(path, overwrite=overwrite)  # it may have come into being meanwhile
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name, too
        finally:
            os.close(folder)


def check_free(path: Path, *, overwrite: bool) -> None:
    """Refuse a path at which no file may be put.

    Raises
    ------
    OutputExists, InvalidArgument
        As :func:`replaced_file` says.

    Examples
    --------
    >>> check_free(Path("/dev/null"), overwrite=True)
    Traceback (most recent call last):
        ...
    pyfunc_packaging.errors.InvalidArgument: /dev/null: is there and is no file; choose another path
    """
    if not path.parent.is_dir():
        raise InvalidArgument(f"{path}: the folder {path.parent} is not there; make it first")
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
        raise InvalidArgument(f"{path}: is there and is no file; choose another path")
    if not overwrite:
        raise OutputExists(f"{path}: is there already; --overwrite replaces it")


@contextmanager
def _open_alone(beside: Path, path: Path) -> Iterator[Any]:
    """Open a file for this process alone; the lock of a process ends with it, however it ends."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.fdopen(os.open(beside, flags, 0o666), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # who held the lock may just have moved the file to its place
            same = beside.exists() and os.path.samestat(os.fstat(file.fileno()), beside.stat())
        except BlockingIOError as error:
            file.close()
            raise OutputExists(f"{path}: another process is writing it; wait for that") from error
        if same:
            break
        file.close()
    with file:
        file.truncate(0)
        yield file
