"""Package a model again and again, each time in a child that is killed at another moment.

python -I package_and_die.py FOLDER SEED TIMES {anew,over} {files,time}

Moments are the n-th change of a file, or parts of a second. A line of JSON for each says what was
at the path afterwards: ``old``, ``new`` or ``nothing``; anything else ends this process with a
traceback.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

import pyfunc_packaging.package
from pyfunc_packaging import load_bundle, package_model

#: What Python says it does to files; a child is killed just before its n-th. The step that puts a
#: bundle in the place of another has no name in Python: it is a function of the C library.
CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree")
EXCHANGE = ("ctypes.dlsym", "renameat2")
ROWS = pd.DataFrame({"rooms": np.arange(2.0, 60.0)})
OLD, NEW = (LinearRegression().fit(ROWS, factor * ROWS["rooms"]) for factor in (10, 20))


class NoProcess(contextlib.nullcontext[Any]):
    """Stands in for the process that loads a new bundle."""

    def __enter__(self) -> Self:
        return self

    def check(self, path: Path) -> None:
        """Take it for good."""


def main(folder: Path, seed: int, times: int, how: str, by: str) -> None:
    path, pristine = folder / "price", folder / "pristine"
    if by == "files":
        # the check in a new process takes nearly all of the time and changes no file
        pyfunc_packaging.package.NewProcess = NoProcess
    write(OLD, pristine)
    if how == "over":
        shutil.copytree(pristine, path)
    whole, renames = in_child(path, by, None)
    order = random.Random(seed)
    if by == "files":
        # all around the renames, and a sample of the others
        near = {index + step for index in renames for step in (-1, 0, 1, 2)}
        moments = {*near, *order.sample(range(1, int(whole)), times), int(whole) - 1}
    else:
        moments = {order.uniform(0, whole) for _ in range(times)}
    for moment in sorted(moments):
        shutil.rmtree(path, ignore_errors=True)
        if how == "over":
            shutil.copytree(pristine, path)
        in_child(path, by, moment)
        print(json.dumps({"part": moment / whole, "found": look(path)}), flush=True)


def write(model: Any, path: Path) -> None:
    package_model(model, ROWS, path=path, name="price", compile="off", overwrite=True)


def in_child(path: Path, by: str, moment: float | None) -> tuple[float, list[int]]:
    """Package in a child: how many changes it made, or seconds it took; which are renames."""
    start = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        seen: list[str] = []
        if by == "files":
            sys.addaudithook(lambda event, arguments: count(seen, moment, path, event, arguments))
        try:
            write(NEW, path)
        except BaseException:  # noqa: BLE001 - a forked child must not go on as its parent
            traceback.print_exc()
            os._exit(1)
        renames = [index for index, event in enumerate(seen) if event in ("os.rename", EXCHANGE[0])]
        os.write(writing, json.dumps([len(seen), renames]).encode())
        os._exit(0)
    os.close(writing)
    if by == "time" and moment is not None:
        time.sleep(max(0.0, start + moment - time.monotonic()))
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    changes, renames = json.loads(os.read(reading, 1000) or b"[0, []]")
    os.close(reading)
    # by the clock it may have been faster than we
    assert status == (0 if moment is None else -signal.SIGKILL) or (by, status) == ("time", 0)
    return (changes if by == "files" else time.monotonic() - start), renames


def count(
    seen: list[str], moment: float | None, path: Path, event: str, arguments: tuple[Any, ...]
) -> None:
    if event in CHANGES:
        name = os.fsdecode(arguments[0]) if not isinstance(arguments[0], int) else ""
        # relative names are those of a tree that is being removed
        counts = name.startswith(str(path.parent)) or not name.startswith("/")
    else:
        name, counts = "", (event, *arguments[1:]) == EXCHANGE
    # before its own folder it removes those of the children that were killed before it
    if counts and (seen or (event == "os.mkdir" and "-staging-" in name)):
        if len(seen) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        seen.append(event)


def look(path: Path) -> str:
    if not path.exists():
        return "nothing"
    bundle = load_bundle(path)
    bundle.verify_files()
    price = float(bundle.predict(pd.DataFrame({"rooms": [4.0]}))[0])
    return {40: "old", 80: "new"}[round(price)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
