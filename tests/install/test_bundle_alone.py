"""A bundle works where only its own requirements.txt is installed: no library of ours at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np


def test_bundle_predicts_with_nothing_but_its_requirements(california: Any, tmp_path: Path) -> None:
    pipeline, rows, bundle = california
    subprocess.run([sys.executable, "-Im", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    uv = str(Path(sys.executable).with_name("uv"))
    install = [uv, "pip", "install", "--quiet", "--system-certs", "--python", python]
    subprocess.run([*install, "-r", str(bundle.path / "requirements.txt")], check=True)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    program = (
        "import importlib.util, json, sys, mlflow.pyfunc, pandas as pd\n"
        "assert importlib.util.find_spec('mlserver_pyfunc') is None\n"
        "assert importlib.util.find_spec('pyfunc_packaging') is None\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "print(json.dumps(model.predict(pd.read_csv(sys.argv[2])).tolist()))\n"
    )
    done = subprocess.run(
        [python, "-I", "-c", program, str(bundle.path), str(tmp_path / "rows.csv")],
        capture_output=True,
        text=True,
        check=True,
    )
    predictions = json.loads(done.stdout.splitlines()[-1])
    # numpy's wheels choose vector units by processor, not by environment: equal to the last digit
    np.testing.assert_array_equal(predictions, pipeline.predict(rows))
