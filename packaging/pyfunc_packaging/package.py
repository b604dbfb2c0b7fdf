"""``package_model``: from a fitted estimator and its rows to a bundle on disk."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import platform
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pyfunc_packaging._version import __version__
from pyfunc_packaging.bundle import LOADER_MODULE, MANIFEST, Bundle, file_digest, load_bundle
from pyfunc_packaging.check import NewProcess
from pyfunc_packaging.classification import classifies
from pyfunc_packaging.compilation import (
    GRAPH_FILE,
    Compilation,
    Compile,
    check_choice,
    compile_model,
)
from pyfunc_packaging.contents import FORMAT_VERSION
from pyfunc_packaging.directories import staging_beside, swap, writing
from pyfunc_packaging.errors import (
    BundleExists,
    InvalidArgument,
    NotPortable,
    UnsuitableModel,
)
from pyfunc_packaging.frame import from_frame, to_frame
from pyfunc_packaging.golden import choose_rows, make_request, make_response
from pyfunc_packaging.mlmodel import (
    LoggedIdentity,
    is_installed,
    write_examples,
    write_json,
    write_mlmodel,
)
from pyfunc_packaging.modules import copy_modules, pins, split_modules
from pyfunc_packaging.package_arguments import check_additions, check_key, check_names, check_path
from pyfunc_packaging.profile import profile, profile_predictions
from pyfunc_packaging.progress import Steps
from pyfunc_packaging.reference import Stored, save_reference
from pyfunc_packaging.report import Subject, write_report
from pyfunc_packaging.schema import Schema
from pyfunc_packaging.scoring import predict_outputs
from pyfunc_packaging.signing import sign_bundle
from pyfunc_packaging.trial import make_schema

#: Rows of which the predictions are summarised.
_PROFILED_ROWS = 5000
#: Modules of this library that a bundle needs where the library is not installed.
_LIBRARY = (
    "__init__",
    "_expression_nodes",
    "_expression_parser",
    "_version",
    "bundle",
    "contents",
    "errors",
    "expressions",
    "features",
    "frame",
    "graph_check",
    "harmless",
    "loader",
    "pipeline",
    "ranges",
    "reference",
    "schema",
    "scoring",
    "session",
)


def package_model(
    model: Any,
    X: pd.DataFrame,
    *,
    path: str | Path,
    name: str,
    y: Any = None,
    output_name: str | None = None,
    overwrite: bool = False,
    code_paths: Sequence[str | Path] = (),
    extra_pip_requirements: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    compile: Compile = "auto",  # noqa: A002 - what it does; nobody compiles Python code here
    signing_key: str | Path | None = None,
    report: bool = True,
    progress: bool | None = None,
    log: bool = False,
    registered_model_name: str | None = None,
    alias: str | None = None,
) -> Bundle:
    """Write a fitted model and all it needs as one directory, and prove that it loads.

    Parameters
    ----------
    model : estimator
        A fitted scikit-learn estimator or pipeline whose ``predict`` takes a DataFrame.
    X : pandas.DataFrame of shape (n, m)
        Raw rows as the model was trained on; a few thousand are plenty. Names, order and types of
        the signature come from it. The first few stand in the bundle, as golden rows and examples.
    path : str or pathlib.Path
        Where to write the bundle. It appears there whole, or not at all.
    name : str
        Name of the model, by which it is served: letters, digits, ``.``, ``_`` and ``-``.
    y : Series, DataFrame or array of n values, optional
        The target; its name becomes the name of the output, except for a classifier's. The
        report measures the model on `X` and `y`, which belong together by position: a `y` that
        has the index of `X` in another order is refused.
    output_name : str, optional
        Name of the output, where ``y`` does not give it. Default ``"prediction"``. A classifier of
        one target has the output ``"label"``, whatever the target is called, which this renames,
        and ``"probability"`` where it has ``predict_proba``.
    overwrite : bool
        Replace what is at ``path``.
    code_paths : sequence of path
        Files or packages of yours to carry along, beyond those found by looking at the model.
    extra_pip_requirements : sequence of str
        Requirements beyond those found by looking at the model.
    metadata : mapping, optional
        Anything that should stand in ``MLmodel`` under ``metadata``.
    compile : {"auto", "require", "off"}
        Whether to compile the pipeline to a graph that serves in microseconds. It is compared
        with the pipeline on `X` and on rows made to tell them apart; where they differ, or a step
        cannot be compiled, ``"auto"`` lets the bundle be served by the pipeline itself and
        ``"require"`` raises.
    signing_key : str or pathlib.Path, optional
        PEM file with a private key to sign the bundle with; see :mod:`pyfunc_packaging.signing`.
    report : bool
        Whether to write ``report.html``, the model card: quality on the given rows, what they
        look like, compilation, how to call the model.
    progress : bool, optional
        Whether to show a bar that names each step. Default: in notebooks and terminals only.
    log : bool
        Also log the bundle to MLflow, within the active run or one of its own.
    registered_model_name : str, optional
        Also register it under this name (which logs it).
    alias : str, optional
        Let this alias of the registered model point at the new version.

    Returns
    -------
    Bundle

    Raises
    ------
    UnsuitableModel
        If the model is not fitted, or fails on ``X``.
    UnsuitableData
        If ``X`` is not what a model can be served with: repeated column names, mixed types, the
        target among the features.
    NotPortable
        If the model cannot be pickled, or does not load in a new process.
    NotCompilable
        If ``compile="require"`` and the model cannot be compiled exactly; the message names the
        step and the reason.
    InvalidArgument
        If an argument cannot be what it should be: a path in S3, a name that no URL can hold.
    BundleExists
        If something is at ``path`` and ``overwrite`` is not set.
    CannotWrite
        If the disk is full or read-only; nothing is left behind.
    InvalidKey
        If ``signing_key`` is no file with a private key that can be used.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.linear_model import LinearRegression
    >>> X = pd.DataFrame({"rooms": [2.0, 3.0, 5.0]})
    >>> y = pd.Series([20.0, 30.0, 50.0], name="price")
    >>> folder = tempfile.TemporaryDirectory()
    >>> bundle = package_model(
    ...     LinearRegression().fit(X, y), X, y=y, path=f"{folder.name}/price", name="price"
    ... )
    >>> bundle.predict(pd.DataFrame({"rooms": [4.0]})).round(6)
    array([40.])
    >>> folder.cleanup()
    """
    check_names(name, output_name, alias=alias, registered_model_name=registered_model_name)
    check_additions(code_paths, extra_pip_requirements, metadata)
    check_choice(compile)
    check_key(signing_key)
    path = check_path(path, overwrite=overwrite)
    steps = Steps(4 + (signing_key is not None), f"package {name}", shown=progress)
    with steps.step("schema"):
        schema = make_schema(model, X, y, output_name)
    with NewProcess() as new_process:
        with steps.step("compile"):
            compilation = compile_model(model, schema, X, mode=compile)

        def write(identity: LoggedIdentity | None) -> Bundle:
            with staging_beside(path) as staging:
                with steps.step("write"), writing(path):
                    _write(
                        staging,
                        model=model,
                        rows=X,
                        y=y,
                        report=report,
                        schema=schema,
                        compilation=compilation,
                        name=name,
                        code_paths=[Path(entry) for entry in code_paths],
                        extra_pip_requirements=extra_pip_requirements,
                        metadata=metadata,
                        identity=identity,
                    )
                with steps.step("check"):
                    new_process.check(staging)
                if signing_key is not None:
                    with steps.step("sign"), writing(path):
                        sign_bundle(staging, private_key=signing_key)
                with writing(path):
                    _move_into_place(staging, path, overwrite)
            return replace(load_bundle(path), timings=steps.timings)

        if log or registered_model_name is not None:
            from pyfunc_packaging.publish import publish

            return publish(
                write, name=name, registered_model_name=registered_model_name, alias=alias
            )
        return write(None)


# --- the files --------------------------------------------------------------------------------


def _write(
    directory: Path,
    *,
    model: Any,
    rows: pd.DataFrame,
    y: Any,
    report: bool,
    schema: Schema,
    compilation: Compilation,
    name: str,
    code_paths: Sequence[Path],
    extra_pip_requirements: Sequence[str],
    metadata: Mapping[str, Any] | None,
    identity: LoggedIdentity | None,
) -> None:
    data, code = directory / "data", directory / "code"
    data.mkdir()
    code.mkdir()
    stored = save_reference(model, data)
    own, libraries = split_modules(stored.modules)
    carried = copy_modules([*own.values(), *code_paths], code)
    _copy_library(code)
    if compilation.graph is not None:
        (directory / GRAPH_FILE).write_bytes(compilation.graph)

    golden = _make_golden(model, schema, rows)
    write_json(data / "golden.json", golden)
    summary = {
        **profile(schema.columns, rows),
        "predictions": _profile_predictions(model, schema, rows),
    }
    write_json(data / "profile.json", summary)
    write_examples(directory, golden["request"])
    if compilation.graph is not None:
        libraries = (*libraries, "onnxruntime")
    requirements = _requirements(stored, libraries, extra_pip_requirements)
    write_mlmodel(
        directory, schema=schema, requirements=requirements, metadata=metadata, identity=identity
    )
    versions = _versions(requirements)
    reference = {
        "file": f"data/{stored.file}",
        "serialization": stored.serialization,
        "reason": stored.reason,
    }
    metrics = []
    if report:
        subject = Subject(
            name=name,
            model=model,
            rows=rows,
            y=y,
            schema=schema,
            graph=compilation.graph,
            compilation=compilation.facts,
            reference=reference,
            versions=versions,
            golden=golden,
            profile=summary,
        )
        metrics = write_report(directory, subject)
    manifest = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "engine": "pyfunc" if compilation.graph is None else "onnx",
        "schema": schema.to_dict(),
        "versions": versions,
        "reference": reference,
        "compilation": compilation.facts,
        "metrics": metrics,
        "code": carried,
        "files": {
            str(file.relative_to(directory)): file_digest(file)
            for file in sorted(directory.rglob("*"))
            if file.is_file()
        },
    }
    write_json(directory / MANIFEST, manifest)


def _make_golden(model: Any, schema: Schema, rows: pd.DataFrame) -> dict[str, Any]:
    values = from_frame(schema, choose_rows(rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shown once already, when the model was tried
        predictions = predict_outputs(model, schema.outputs, to_frame(schema.columns, values))
    # JSON has no infinity; a row that is predicted so proves nothing anyway
    infinite = [
        np.isinf(array.reshape(len(array), -1)).any(axis=1)
        for array in predictions.values()
        if array.dtype.kind == "f"
    ]
    if infinite:
        usable = ~np.any(infinite, axis=0)
        if not usable.any():
            raise UnsuitableModel(
                "the model predicts infinity for every row that was tried; look for a division by"
                " zero or an overflow in it"
            )
        predictions = {name: array[usable] for name, array in predictions.items()}
        values = {name: cells[usable] for name, cells in values.items()}
    return {
        "request": make_request(schema.columns, values),
        "response": make_response(schema.outputs, predictions),
    }


def _profile_predictions(model: Any, schema: Schema, rows: pd.DataFrame) -> dict[str, Any]:
    """What the model predicts for rows spread over those given."""
    positions = np.linspace(0, len(rows) - 1, num=min(len(rows), _PROFILED_ROWS)).astype(int)
    sample = rows.iloc[positions]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shown once already, when the model was tried
        try:
            predictions = predict_outputs(model, schema.outputs, sample)
        except Exception as error:  # whatever the user's model raises, it is about these rows
            raise UnsuitableModel(
                f"the model fails on some of {len(sample)} rows spread over X:"
                f" {type(error).__name__}: {error}. Leave out the rows that it cannot predict"
            ) from error
    return profile_predictions(schema.outputs, predictions, labels=classifies(model))


def _copy_library(code: Path) -> None:
    """Copy the loader, and the part of this library that it needs, into ``code/``."""
    here = Path(__file__).parent
    library = code / "pyfunc_bundle_lib" / "pyfunc_packaging"
    library.mkdir(parents=True)
    for module in _LIBRARY:
        shutil.copyfile(here / f"{module}.py", library / f"{module}.py")
    shutil.copyfile(here / "loader.py", code / f"{LOADER_MODULE}.py")


def _requirements(stored: Stored, libraries: Sequence[str], extra: Sequence[str]) -> list[str]:
    mlflow = "mlflow" if is_installed("mlflow") else "mlflow-skinny"
    always = [mlflow, "numpy", "pandas", "scikit-learn", "PyYAML"]
    always.append("skops" if stored.serialization == "skops" else "cloudpickle")
    try:
        found = pins(libraries, always=always)
    except importlib.metadata.PackageNotFoundError as error:
        raise NotPortable(
            f"the model needs {error.name}, of which no installed version is known here; install"
            f" it with pip"
        ) from error
    try:
        named = {canonicalize_name(Requirement(line).name) for line in extra}
    except InvalidRequirement as error:
        raise InvalidArgument(f"extra_pip_requirements: {error}") from error
    # what the user says of a library holds
    return [*(line for line in found if line.partition("==")[0] not in named), *extra]


def _versions(requirements: Sequence[str]) -> dict[str, str]:
    versions = {"python": platform.python_version(), "mlserver-pyfunc": __version__}
    for line in requirements:
        name, separator, version = line.partition("==")
        if separator:
            versions[name.strip()] = version.strip()
    return versions


def _move_into_place(staging: Path, path: Path, overwrite: bool) -> None:
    """Rename the finished directory to ``path`` in one step."""
    staging.chmod(0o755)
    if not path.exists() or not overwrite:
        try:
            os.rename(staging, path)  # POSIX: replaces an empty directory, and no other
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise BundleExists(
                f"{path}: something appeared there meanwhile; choose another path"
            ) from error
        return
    swap(staging, path)
