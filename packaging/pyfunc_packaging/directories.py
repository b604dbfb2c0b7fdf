"""Put a finished directory in the place of another."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


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
