"""Package a model on a disk of a few sizes, the last one large enough, and print what happened.

python -I package_on_disk.py FOLDER {mount,limit}

``mount`` needs a mount namespace of its own, which ends with this process, and its tmpfs with it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

from pyfunc_packaging import PyFuncError, load_bundle, package_model

#: KiB; a bundle takes about 200, and its largest file, of the library, about 15.
DISKS = (4, 16, 64, 120, 4096)
LIMITS = (0, 1, 4, 8)


def main(folder: Path, how: str) -> None:
    rows = pd.DataFrame({"rooms": np.arange(2.0, 60.0)})
    model = LinearRegression().fit(rows, 10 * rows["rooms"])
    if how == "mount":
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=True)
    for size in DISKS if how == "mount" else (*LIMITS, -1):
        if how == "mount":
            subprocess.run(["mount", "-o", f"remount,size={size}k", str(folder)], check=True)
        else:
            limit = resource.RLIM_INFINITY if size < 0 else 1024 * size
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        found = attempt(folder, model, rows)
        sys.stderr.write(json.dumps({"size": size, **found}) + "\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


def attempt(folder: Path, model: Any, rows: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = {"error": None, "ours": None, "message": ""}
    path = folder / "price"
    try:
        package_model(model, rows, path=path, name="price", compile="off")
    except OSError as error:
        found = {
            "error": type(error).__name__,
            "ours": isinstance(error, PyFuncError),
            "message": str(error),
        }
    found["left"] = sorted(entry.name for entry in folder.iterdir())
    if path.exists():
        bundle = load_bundle(path)
        bundle.verify_files()
        found["predicts"] = float(bundle.predict(pd.DataFrame({"rooms": [4.0]}))[0])
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
