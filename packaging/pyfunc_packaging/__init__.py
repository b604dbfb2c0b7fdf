"""Package fitted scikit-learn models as MLflow model directories that serve anywhere.

Importing this package is cheap: the public names load what they need when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyfunc_packaging._version import __version__

if TYPE_CHECKING:
    from pyfunc_packaging.bundle import Bundle, load_bundle
    from pyfunc_packaging.errors import PyFuncError
    from pyfunc_packaging.features import ColumnFeatures
    from pyfunc_packaging.package import package_model
    from pyfunc_packaging.pipeline import build_pipeline
    from pyfunc_packaging.resolve import resolve_model_uri

__all__ = [
    "Bundle",
    "ColumnFeatures",
    "PyFuncError",
    "__version__",
    "build_pipeline",
    "load_bundle",
    "package_model",
    "resolve_model_uri",
]

_HOMES = {
    "Bundle": "bundle",
    "ColumnFeatures": "features",
    "PyFuncError": "errors",
    "build_pipeline": "pipeline",
    "load_bundle": "bundle",
    "package_model": "package",
    "resolve_model_uri": "resolve",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module, so that importing this package imports nothing else."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
