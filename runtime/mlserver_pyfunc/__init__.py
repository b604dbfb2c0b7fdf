"""A thin MLServer runtime for MLflow PyFunc models, strict about the Open Inference Protocol.

Set ``"implementation": "mlserver_pyfunc.PyFuncRuntime"`` in ``model-settings.json``, or run
``pyfunc serve BUNDLE``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyfunc_packaging._version import __version__

if TYPE_CHECKING:
    from mlserver_pyfunc.model import PyFuncRuntime

__all__ = ["PyFuncRuntime", "__version__"]


def __getattr__(name: str) -> Any:
    """Load the runtime when it is first asked for: MLServer takes seconds to import."""
    if name != "PyFuncRuntime":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mlserver_pyfunc.model import PyFuncRuntime

    return PyFuncRuntime
