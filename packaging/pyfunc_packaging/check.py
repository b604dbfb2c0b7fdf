"""Load a bundle as a stranger would, with nothing but MLflow, and predict its golden rows.

The new process finds the libraries of this one, but neither its current folder nor what
``PYTHONPATH`` adds, so that a module which only the author has is noticed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyfunc_packaging.errors import NotPortable
from pyfunc_packaging.modules import library_folders

#: Seconds that loading and predicting a handful of rows may take on a busy machine.
TIMEOUT = 300.0


class NewProcess:
    """A new process that will load a bundle; it imports what that takes before there is one.

    Examples
    --------
    >>> with NewProcess() as process:
    ...     process.check(Path("no/such/bundle"))
    Traceback (most recent call last):
        ...
    pyfunc_packaging.errors.NotPortable: the packaged model does not work in a new process: ...
    """

    def __enter__(self) -> NewProcess:
        here = Path(__file__).resolve().parent.parent
        libraries = [str(folder) for folder in (*library_folders(), here)]
        program = (
            f"import sys; sys.path.extend({libraries!r});"
            f" from pyfunc_packaging.check import main; sys.exit(main())"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-E", "-B", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # a handful of rows needs no team; the bundle's own engine first, whatever is set here
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYFUNC_ENGINE": ""},
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def check(self, path: Path) -> None:
        """Load the bundle through ``mlflow.pyfunc.load_model`` there; compare golden rows.

        Parameters
        ----------
        path : pathlib.Path

        Raises
        ------
        NotPortable
            If it does not load there, or predicts something else.
        """
        try:
            _, output = self._process.communicate(str(path.absolute()), timeout=TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise NotPortable(
                f"the packaged model did not predict its golden rows within {TIMEOUT:.0f} s in a"
                f" new process; look for work that the model does when it is loaded"
            ) from error
        if self._process.returncode != 0:
            last = (output.strip().splitlines() or ["no message"])[-1]
            raise NotPortable(
                f"the packaged model does not work in a new process: {last}\n"
                f"If a module of yours is missing, name its file or folder in code_paths; if a"
                f" library is missing, name it in extra_pip_requirements. The whole output was:\n"
                f"{output}"
            )


def main() -> int:
    """Predict the golden rows of the bundle that standard input names; 0 when they are right."""
    warnings.simplefilter("ignore")
    import mlflow.pyfunc
    import numpy as np
    import skops.io  # noqa: F401 - takes a second, which nobody waits for now

    from pyfunc_packaging.bundle import load_bundle
    from pyfunc_packaging.golden import differences, make_response, request_frame
    from pyfunc_packaging.scoring import ENGINE_VARIABLE, Scorer

    def by_name(result: Any) -> dict[str, Any]:
        """What ``predict`` returned: a dictionary, a DataFrame, or the one output itself."""
        if isinstance(result, Mapping):
            return dict(result)
        names = [output.name for output in bundle.schema.outputs]
        if len(names) == 1:
            return {names[0]: np.asarray(result)}
        return {name: result[name].to_numpy() for name in names}

    path = sys.stdin.read()
    if not path:
        return 0  # nothing came of the bundle
    models = [mlflow.pyfunc.load_model(path)]
    bundle = load_bundle(path)
    if bundle.engine != "pyfunc":
        # what a compiled bundle falls back on has to travel just as well
        os.environ[ENGINE_VARIABLE] = "pyfunc"
        models.append(Scorer(bundle))
    golden = bundle.golden()
    rows = request_frame(bundle.schema, golden["request"])
    for model in models:
        response = make_response(bundle.schema.outputs, by_name(model.predict(rows)))
        difference = differences(golden["response"], response)
        if difference is not None:
            print(f"{json.dumps(bundle.name)} predicts otherwise: {difference}", file=sys.stderr)
            return 1
    return 0
