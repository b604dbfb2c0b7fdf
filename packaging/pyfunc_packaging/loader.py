"""What ``mlflow.pyfunc.load_model`` imports; copied into each bundle's ``code/`` folder.

A bundle needs a few modules of ``pyfunc_packaging``. Where the library is installed, that one is
used; elsewhere the copy in the bundle, which is put at the end of the path so that it never stands
in for anything installed.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any


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
    if importlib.util.find_spec("pyfunc_packaging") is None:
        sys.path.append(str(data.parent / "code" / "pyfunc_bundle_lib"))
        importlib.invalidate_caches()
    from pyfunc_packaging.bundle import load_bundle
    from pyfunc_packaging.scoring import Scorer

    return Scorer(load_bundle(data.parent))
