"""What computes predictions: a bundle's graph or pipeline, or any MLflow PyFunc model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import yaml
from mlserver.logging import logger

from mlserver_pyfunc.encode import describe, name_predictions
from mlserver_pyfunc.refusals import RefusedByModel
from pyfunc_packaging.bundle import MLMODEL, is_bundle, load_bundle
from pyfunc_packaging.errors import (
    BundleNotFound,
    MalformedBundle,
    MissingDependency,
    MissingSignature,
    ModelFailure,
    PyFuncError,
    ValuesRefused,
)
from pyfunc_packaging.schema import Column, Schema, Tensor
from pyfunc_packaging.scoring import empty
from pyfunc_packaging.trust import check_code, read_trust, read_trusted_signature
from pyfunc_packaging.trusted_bundle import TrustedBundle

Array = npt.NDArray[Any]

#: What scikit-learn's own validation says of numbers that a float32 cannot hold.
_TOO_LARGE = "contains infinity or a value too large for dtype"

#: What model metadata calls the framework, as other servers of the protocol do.
_PLATFORMS = {"onnx": "onnxruntime_onnx", "pyfunc": "sklearn"}


class Engine(Protocol):
    """Predicts decoded inputs; one object a model."""

    @property
    def schema(self) -> Schema:
        """What goes in and what comes out, exactly."""

    @property
    def name(self) -> str:
        """``onnx`` or ``pyfunc``."""

    @property
    def platform(self) -> str:
        """Name of the framework, for model metadata."""

    def predict(
        self, values: Mapping[str, Array], *, rows: int, params: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Predictions by output name, each of shape (rows, ...)."""


def load_engine(path: Path) -> Engine:
    """Load the engine of the model in a directory.

    Parameters
    ----------
    path : pathlib.Path
        A bundle, or any MLflow model with the ``python_function`` flavor and a signature.

    Returns
    -------
    Engine

    Raises
    ------
    PyFuncError
        With one line that says why the model cannot be served.
    """
    trust = read_trust()
    signed = read_trusted_signature(path)
    if signed is not None:
        signed.check_files()
        logger.info("%s: the signature is good, made with %s", path, signed.signer)
    if is_bundle(path):
        bundle = load_bundle(path, digests=None if signed is None else signed.files)
        return BundleEngine(TrustedBundle(bundle, trust, verified=signed is not None))
    if not (path / MLMODEL).is_file():
        raise BundleNotFound(
            f"{path}: no model there ({MLMODEL} is not in it); the directory should be one that"
            f" package_model() or MLflow wrote"
        )
    check_code(path, trust, verified=signed is not None)
    # not even Python's own byte code may be added to what was signed
    sys.dont_write_bytecode = True
    return MlflowEngine(path)


class BundleEngine:
    """A bundle's own engine: its compiled graph, or its reference pipeline on a DataFrame.

    Parameters
    ----------
    trusted : TrustedBundle
    """

    def __init__(self, trusted: TrustedBundle) -> None:
        self._scorer = trusted.load(logger)
        bundle, engine = trusted.bundle, self._scorer.engine
        self.name = engine
        self.platform = _PLATFORMS[engine]
        #: Whether several threads may predict at a time; ONNX Runtime sessions are safe to share.
        self.concurrent = engine == "onnx"
        self.bundle = bundle
        self.schema = bundle.schema

    def predict(
        self, values: Mapping[str, Array], *, rows: int, params: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Predict; see :class:`Engine`."""
        _ = params  # a bundle has none
        try:
            return self._scorer.predict_columns(values, rows)
        except ValuesRefused as error:
            raise self._refused() from error
        except PyFuncError:
            raise
        except Exception as error:  # whatever the model's own code raises
            if isinstance(error, ValueError) and (self._closed or _TOO_LARGE in str(error)):
                logger.warning("the model refused a request", exc_info=error)
                raise self._refused() from error
            raise ModelFailure(_raised(error)) from error

    @property
    def _closed(self) -> list[str]:
        """Inputs in which the model fails on a text that it has never seen, as packaging found."""
        return [column.name for column in self.schema.columns if column.closed]

    def _refused(self) -> RefusedByModel:
        names = ", ".join(map(repr, self._closed))
        expected = [f"only texts known from training in the input(s) {names}"] if names else []
        expected.append("numbers that stay finite on their way through the pipeline")
        return RefusedByModel(
            f"the model refuses the values of this request; expected {' and '.join(expected)}"
        )


class MlflowEngine:
    """The pyfunc engine for any MLflow model: through ``mlflow.pyfunc``, without any service.

    Parameters
    ----------
    path : pathlib.Path
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = "pyfunc"
        schema, flavors = _read_mlmodel(path)
        self.platform = next((name for name in flavors if name != "python_function"), "pyfunc")
        try:
            import mlflow.pyfunc
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"{path}: this is an MLflow model and no compiled bundle, and the Python module"
                f" {error.name!r} is not installed here; install mlserver-pyfunc[pyfunc]"
            ) from error
        try:
            self._model = mlflow.pyfunc.load_model(str(path), suppress_warnings=True)
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"{path}: the model needs the Python module {error.name!r}; install what its"
                f" requirements.txt lists"
            ) from error
        self._single = (
            len(schema.inputs) == 1 and not self._model.metadata.signature.inputs.has_input_names()
        )
        self.schema = self._observe(schema)

    def predict(
        self, values: Mapping[str, Array], *, rows: int, params: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Predict through MLflow; see :class:`Engine`."""
        if rows == 0:
            return {output.name: empty(output) for output in self.schema.outputs}
        return name_predictions(self._call(values, params), self.schema.outputs)

    def _call(self, values: Mapping[str, Array], params: Mapping[str, Any]) -> Any:
        from pyfunc_packaging.frame import to_frame

        data: Any
        if self.schema_is_columnar:
            data = to_frame(self._columns, values)
        elif self._single:
            data = next(iter(values.values()))
        else:
            data = dict(values)
        try:
            return self._model.predict(data, params=dict(params) or None)
        except Exception as error:  # whatever the model's own code, or MLflow, raises
            raise ModelFailure(_raised(error)) from error

    def _observe(self, schema: Schema) -> Schema:
        """Correct the outputs by what the model really returns, where it can be tried.

        Signatures are often inferred from the training target (integers) while the model returns
        floats; what metadata says has to be what comes.
        """
        import pandas as pd

        text = "str" if int(pd.__version__.partition(".")[0]) >= 3 else "object"
        self._columns = tuple(
            replace(column, dtype=text, missing=None if text == "str" else "NaN")
            if column.type == "string"
            else column
            for column in schema.columns
        )
        self.schema_is_columnar = schema.columnar
        # MLflow itself refuses missing integers, whatever the signature says
        inputs = tuple(
            replace(field, nullable=False)
            if isinstance(field, Column) and field.type in ("integer", "long")
            else field
            for field in schema.inputs
        )
        schema = replace(schema, inputs=inputs)
        for values in (self._example(schema), _zeros(schema)):
            if values is None:
                continue
            try:
                observed = name_predictions(self._call(values, {}), schema.outputs)
            except ModelFailure:
                continue
            return replace(schema, outputs=_merge(schema.outputs, describe(observed)))
        if not schema.outputs:
            raise MissingSignature(
                f"{self._path}: the signature does not say what the model returns, and trying it on"
                f" a row of zeros failed. Log it again with one that does:"
                f" signature=mlflow.models.infer_signature(X, model.predict(X)), or with an"
                f" input_example"
            )
        return schema

    def _example(self, schema: Schema) -> dict[str, Array] | None:
        """The model's own input example as decoded columns, if it has one that fits."""
        import pandas as pd

        from pyfunc_packaging.frame import from_frame

        example = self._model.input_example
        if not schema.columnar or not isinstance(example, pd.DataFrame):
            return None
        try:
            return from_frame(schema, example)
        except PyFuncError:
            return None


def _read_mlmodel(path: Path) -> tuple[Schema, Mapping[str, Any]]:
    file = path / MLMODEL
    try:
        content = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBundle(f"{file}: expected YAML, found something else") from error
    flavors = content.get("flavors") if isinstance(content, dict) else None
    if not isinstance(flavors, dict):
        raise MalformedBundle(f"{file}: expected an MLflow model with flavors, found none")
    if "python_function" not in flavors:
        raise MalformedBundle(
            f"{file}: the model has the flavors {', '.join(map(str, flavors))}, and python_function"
            f" is not among them; log it with a flavor that MLflow can load as a Python function"
        )
    signature = content.get("signature")
    if not isinstance(signature, dict) or not signature.get("inputs"):
        raise MissingSignature(
            f"{path}: the model has no signature, so nothing says what it takes. Log it again with"
            f" one: mlflow.sklearn.log_model(model, name=...,"
            f" signature=mlflow.models.infer_signature(X, model.predict(X)))"
        )
    try:
        return Schema.from_mlflow(signature), flavors
    except MalformedBundle:
        # MLflow writes "any" where it could not tell what comes out; the engine looks for itself
        return Schema.from_mlflow({**signature, "outputs": None}), flavors


def _raised(error: Exception) -> str:
    return f"the model raised {type(error).__name__}; the server's log has the details"


def _zeros(schema: Schema) -> dict[str, Array]:
    """One row of zeros and empty texts, to see what a model returns."""
    values: dict[str, Array] = {}
    for field in schema.inputs:
        if isinstance(field, Tensor):
            shape = tuple(1 if size == -1 else size for size in field.shape)
            dtype = "object" if field.datatype == "BYTES" else field.dtype
            values[field.name] = np.full(shape, "" if dtype == "object" else 0, dtype)
        elif field.datatype == "BYTES" and field.type != "datetime":
            values[field.name] = np.array(["" if field.type == "string" else b""], dtype=object)
        elif field.type == "datetime":
            values[field.name] = np.array(["1970-01-01"], dtype="datetime64[ns]")
        else:
            values[field.name] = np.zeros(1, {"BOOL": "bool"}.get(field.datatype, _dtype(field)))
    return values


def _dtype(column: Column) -> str:
    from pyfunc_packaging.schema import NUMPY_TYPES

    return NUMPY_TYPES[column.type]


def _merge(
    declared: tuple[Column | Tensor, ...], observed: tuple[Column | Tensor, ...]
) -> tuple[Column | Tensor, ...]:
    """What the signature says where it is right, else what was seen."""
    said = {output.name: output for output in declared}
    return tuple(
        said[seen.name]
        if seen.name in said
        and said[seen.name].datatype == seen.datatype
        and len(said[seen.name].shape) == len(seen.shape)
        else seen
        for seen in observed
    )
