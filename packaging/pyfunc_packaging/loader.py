"""What ``mlflow.pyfunc.load_model`` imports; copied into each bundle's ``code/`` folder.

A bundle needs a few modules of ``pyfunc_packaging``. Where the library is installed, that one is
used; elsewhere the copy in the bundle, which is put at the end of the path so that it never stands
in for anything installed.

Modules in a bundle are compiled from their source whenever they are imported: byte code beside them
is covered by no digest in the manifest, and what Python wrote there would be a file that was added.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from contextlib import suppress
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType
from typing import Any

#: Folders in which byte code does not count.
_FOLDERS: set[Path] = set()


class _SourceOnlyLoader(SourceFileLoader):
    """Neither reads nor writes ``__pycache__``."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def import_from_source(folder: Path) -> None:
    """From now on, import modules below a folder from their source only.

    Parameters
    ----------
    folder : pathlib.Path
        A bundle's ``code/``; whether it is on ``sys.path`` is another matter.

    Examples
    --------
    >>> import_from_source(Path("bundle/code"))
    >>> any(hook is _find_in_bundle for hook in sys.path_hooks)
    True
    """
    _FOLDERS.add(folder.resolve())
    if _find_in_bundle not in sys.path_hooks:
        sys.path_hooks.insert(0, _find_in_bundle)
    for path in list(sys.path_importer_cache):  # who looked there before did so with Python's own
        if _is_in_bundle(path):
            sys.path_importer_cache.pop(path, None)


def _is_in_bundle(path: str) -> bool:
    place = Path(path).resolve()
    return any(place.is_relative_to(folder) for folder in _FOLDERS)


def _find_in_bundle(path: str) -> FileFinder:
    """A path hook: raises ImportError for what is another's business."""
    if not _is_in_bundle(path):
        raise ImportError(f"{path}: in no bundle")
    return FileFinder(
        path, (ExtensionFileLoader, EXTENSION_SUFFIXES), (_SourceOnlyLoader, SOURCE_SUFFIXES)
    )


def _load_pyfunc(data_path: str) -> Any:
    """Entry point of MLflow's ``python_function`` flavor.

    Parameters
    ----------
    data_path : str
        The bundle's ``data/`` folder.

    Returns
    -------
    object with ``predict(DataFrame, params=None)``
    """
    data = Path(data_path)
    code = data.parent / "code"
    import_from_source(code)
    _remove_own_byte_code(code)
    if importlib.util.find_spec("pyfunc_packaging") is None:
        sys.path.append(str(code / "pyfunc_bundle_lib"))
        importlib.invalidate_caches()
    from pyfunc_packaging.bundle import load_bundle
    from pyfunc_packaging.scoring import Scorer

    return Scorer(load_bundle(data.parent))


def _remove_own_byte_code(code: Path) -> None:
    """Python wrote it into the bundle before this module could say not to."""
    own = Path(importlib.util.cache_from_source(str(code / Path(__file__).name)))
    with suppress(OSError):  # of a bundle that is not ours to write to
        own.unlink(missing_ok=True)
        os.rmdir(own.parent)
