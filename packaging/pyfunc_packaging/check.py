"""Load a bundle as a stranger would, with nothing but MLflow, and predict its golden rows.

Run as ``python -I -m pyfunc_packaging.check BUNDLE``: ``-I`` leaves the current folder and
``PYTHONPATH`` out, so that a module which only the author has is noticed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

from pyfunc_packaging.errors import NotPortable

#: Seconds that loading and predicting a handful of rows may take on a busy machine.
TIMEOUT = 300.0


def check_in_subprocess(path: Path) -> None:
    """Load the bundle through ``mlflow.pyfunc.load_model`` in a new process; compare golden rows.

    Parameters
    ----------
    path : pathlib.Path

    Raises
    ------
    NotPortable
        If it does not load there, or predicts something else.
    """
    here = Path(__file__).resolve().parent.parent
    # -I drops PYTHONPATH, which may be how this library itself was found
    program = (
        f"import sys; sys.path.append({str(here)!r}); from pyfunc_packaging.check import main;"
        f" sys.exit(main({str(path)!r}))"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", program],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},  # a handful of rows needs no team
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotPortable(
            f"the packaged model did not predict its golden rows within {TIMEOUT:.0f} s in a new"
            f" process; look for work that the model does when it is loaded"
        ) from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NotPortable(
            f"the packaged model does not work in a new process: {last}\n"
            f"If a module of yours is missing, name its file or folder in code_paths; if a library"
            f" is missing, name it in extra_pip_requirements. The whole output was:\n{done.stderr}"
        )


def main(path: str) -> int:
    """Predict the golden rows of the bundle at ``path``; 0 when they are right."""
    warnings.simplefilter("ignore")
    import mlflow.pyfunc

    from pyfunc_packaging.bundle import load_bundle
    from pyfunc_packaging.golden import differences, make_response, request_frame

    model = mlflow.pyfunc.load_model(path)
    bundle = load_bundle(path)
    golden = bundle.golden()
    predictions = model.predict(request_frame(bundle.schema, golden["request"]))
    difference = differences(golden["response"], make_response(bundle.schema.outputs, predictions))
    if difference is not None:
        print(f"{json.dumps(bundle.name)} predicts otherwise: {difference}", file=sys.stderr)
        return 1
    return 0
