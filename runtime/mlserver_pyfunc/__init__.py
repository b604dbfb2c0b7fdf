"""A thin MLServer runtime for MLflow PyFunc models, strict about the Open Inference Protocol.

Set ``"implementation": "mlserver_pyfunc.PyFuncRuntime"`` in ``model-settings.json``, or run
``pyfunc serve BUNDLE``.
"""

from mlserver_pyfunc.model import PyFuncRuntime
from pyfunc_packaging._version import __version__

__all__ = ["PyFuncRuntime", "__version__"]
