"""Which Python modules a model needs: the user's own, to carry along, and libraries, to pin.

Found by reading: the names in the pickle stream and the ``import`` statements of the user's own
files. Nothing is run and no process is started.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import pickletools
import shutil
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from pyfunc_packaging.errors import NotPortable
from pyfunc_packaging.reference import EMPTY_MODULE

_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "*.egg-info")
#: Folders beside a user's package are copied whole; one this large is data, not code.
MAX_CODE_BYTES = 50 * 2**20


def modules_in_pickle(content: bytes) -> tuple[str, ...]:
    """Names of the modules that a pickle stream refers to.

    Parameters
    ----------
    content : bytes

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> import pickle, fractions
    >>> modules_in_pickle(pickle.dumps(fractions.Fraction(1, 2)))
    ('fractions',)
    """
    names: set[str] = set()
    texts: list[str] = []
    memo: dict[int, str] = {}
    last: str | None = None  # the text that the previous opcode pushed, which may be memoized
    memoized = 0
    for opcode, argument, _position in pickletools.genops(content):
        if opcode.name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            if last is not None:
                memo[memoized if argument is None else int(argument)] = last
            memoized += 1
            continue
        last = None
        if opcode.name == "GLOBAL":
            names.add(str(argument).split(" ")[0])
        elif opcode.name == "STACK_GLOBAL":
            names.update(text for text in texts[-2:] if text in sys.modules)
        elif opcode.name in ("GET", "BINGET", "LONG_BINGET") and argument is not None:
            texts.append(memo.get(int(argument), ""))
        elif isinstance(argument, str):
            last = argument
            texts.append(argument)
    if "cloudpickle.cloudpickle" in names:
        # A function pickled by value carries the modules it uses as plain texts. A column of the
        # same name is taken for one, too: a pin too many is better than one too few.
        names.update(text for text in texts if text in sys.modules and text != "__main__")
    return tuple(sorted(names))


@cache
def library_folders() -> tuple[Path, ...]:
    """Folders that installed libraries, and Python's own, lie in."""
    paths = sysconfig.get_paths()
    folders = {Path(paths[key]).resolve() for key in ("purelib", "platlib", "stdlib", "platstdlib")}
    folders.update(
        Path(entry).resolve()
        for entry in sys.path
        if Path(entry).name in ("site-packages", "dist-packages")
    )
    return tuple(folders)


def _origin(name: str) -> Path | None:
    """The file or folder of a top-level module; None for built-in ones and where there is none."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if spec is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            spec = None
    if spec is None:
        file = getattr(module, "__file__", None)
        return Path(file) if file else None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.has_location and spec.origin else None


def is_users_own(name: str) -> bool:
    """Whether a top-level module is the user's own: neither Python's, nor an installed library's.

    Examples
    --------
    >>> is_users_own("json"), is_users_own("numpy")
    (False, False)
    """
    if name in sys.stdlib_module_names or name in ("__main__", "pyfunc_packaging"):
        return False
    origin = _origin(name)
    if origin is None:
        return False
    return not any(origin.resolve().is_relative_to(folder) for folder in library_folders())


def split_modules(names: Iterable[str]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Tell the user's own modules from libraries, following the imports of the user's own files.

    Parameters
    ----------
    names : iterable of str
        Modules that a model refers to.

    Returns
    -------
    own : dict of str to pathlib.Path
        Top-level modules to carry along, with the file or folder of each.
    libraries : tuple of str
        Top-level modules of installed libraries.
    """
    own: dict[str, Path] = {}
    libraries: set[str] = set()
    waiting = {name.partition(".")[0] for name in names}
    while waiting:
        name = waiting.pop()
        if name in own or name in libraries:
            continue
        origin = _origin(name)
        if origin is not None and is_users_own(name):
            own[name] = origin
            waiting.update(_imports(origin))
        elif name not in sys.stdlib_module_names and name != "__main__" and origin is not None:
            libraries.add(name)
    return own, tuple(sorted(libraries))


def _imports(origin: Path) -> set[str]:
    """Top-level modules that a file, or the files of a folder, import."""
    found: set[str] = set()
    for file in [origin] if origin.is_file() else sorted(origin.rglob("*.py")):
        if file.suffix != ".py" or (origin.is_dir() and _is_test(file.relative_to(origin))):
            continue
        try:
            tree = ast.parse(file.read_bytes(), str(file))
        except (SyntaxError, ValueError):
            continue  # what cannot be parsed, such as a template, is not imported either
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.partition(".")[0])
    return found


def _is_test(file: Path) -> bool:
    """Whether a file of a package is for its tests, whose imports no model needs."""
    folders = {"test", "tests"}.intersection(file.parts[:-1])
    return bool(folders) or file.name.startswith("test_") or file.name == "conftest.py"


def copy_modules(sources: Iterable[Path], directory: Path) -> list[str]:
    """Copy files and packages into a bundle's ``code/``.

    Parameters
    ----------
    sources : iterable of pathlib.Path
        Python files, or folders of packages.
    directory : pathlib.Path

    Returns
    -------
    list of str
        Names of what was copied, sorted.

    Raises
    ------
    NotPortable
        If a source is absent, or too large to be code.
    """
    copied = []
    for source in (path if path.name else path.resolve() for path in sources):
        if source.stem in sys.stdlib_module_names:
            raise NotPortable(
                f"{source}: a module of Python itself is called {source.stem!r} too, and would be"
                f" found in its place; rename yours"
            )
        if source.is_file():
            shutil.copyfile(source, directory / source.name)
        elif source.is_dir():
            size = sum(
                file.stat().st_size
                for file in source.rglob("*")
                if file.is_file()
                and not any(part[0] == "." for part in file.relative_to(source).parts)
            )
            if size > MAX_CODE_BYTES:
                raise NotPortable(
                    f"{source}: the package holds {size / 2**20:.0f} MiB, more than the"
                    f" {MAX_CODE_BYTES // 2**20} MiB that a bundle carries as code; move its data"
                    f" elsewhere, or install the package and name it in extra_pip_requirements"
                )
            shutil.copytree(source, directory / source.name, ignore=_IGNORED, dirs_exist_ok=True)
        else:
            raise NotPortable(f"{source}: no such file or folder; correct code_paths")
        copied.append(source.name)
    for file in sorted(directory.rglob("*")):
        # KServe's storage initializer skips empty objects: a package would vanish, and a marker
        # such as py.typed be found missing
        if file.is_file() and file.stat().st_size == 0:
            if file.suffix == ".py":
                file.write_bytes(EMPTY_MODULE)
            else:
                file.unlink()
    return sorted(copied)


def pins(modules: Iterable[str], *, always: Iterable[str]) -> tuple[str, ...]:
    """Exact versions of the distributions that provide ``modules``.

    Parameters
    ----------
    modules : iterable of str
        Top-level modules.
    always : iterable of str
        Distributions to pin whatever the modules are.

    Returns
    -------
    tuple of str
        Lines such as ``"scikit-learn==1.9.1"``, sorted.

    Examples
    --------
    >>> [line.split("==")[0] for line in pins(["sklearn"], always=["numpy"])]
    ['numpy', 'scikit-learn']
    """
    providers = _providers()
    names = {name.lower() for name in always}
    for module in modules:
        names.update(name.lower() for name in providers.get(module, ()))
    names.discard("mlserver-pyfunc")  # the part of it that a bundle needs lies in the bundle
    return tuple(sorted(f"{name}=={importlib.metadata.version(name)}" for name in names))


@cache
def _providers() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())
