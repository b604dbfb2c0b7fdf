"""Predictions from a bundle in this process, from a DataFrame or from decoded columns."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyfunc_packaging.errors import InvalidArgument, MissingDependency, ModelFailure
from pyfunc_packaging.schema import NUMPY_TYPES, Column, Tensor
from pyfunc_packaging.session import OnnxSession

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from pyfunc_packaging.bundle import Bundle

Array = npt.NDArray[Any]

#: Chooses the engine where a bundle has both: ``onnx`` or ``pyfunc``.
ENGINE_VARIABLE = "PYFUNC_ENGINE"


def choose_engine(bundle: Bundle) -> str:
    """The engine that predicts: the bundle's own unless ``PYFUNC_ENGINE`` asks for the other.

    Parameters
    ----------
    bundle : Bundle

    Returns
    -------
    str
        ``"onnx"`` or ``"pyfunc"``.

    Raises
    ------
    InvalidArgument
        If the variable names no engine, or one that the bundle does not have.
    """
    wanted = os.environ.get(ENGINE_VARIABLE) or bundle.engine
    if wanted not in ("onnx", "pyfunc"):
        raise InvalidArgument(
            f"{ENGINE_VARIABLE} should be 'onnx' or 'pyfunc', found {wanted!r}; unset it to let the"
            f" bundle decide"
        )
    if wanted == "onnx" and bundle.engine != "onnx":
        facts = bundle.compilation
        step = f"step {facts['step']}: " if facts.get("step") else ""
        raise InvalidArgument(
            f"{ENGINE_VARIABLE}=onnx, and {bundle.path} holds no compiled graph"
            f" ({step}{facts.get('reason')}); unset the variable"
        )
    return wanted


def method_of(output: Column | Tensor) -> str:
    """The method of the model that computes an output: ``predict`` or ``predict_proba``."""
    return "predict_proba" if isinstance(output, Tensor) and output.classes else "predict"


def predict_outputs(
    model: Any, outputs: Sequence[Column | Tensor], rows: pd.DataFrame
) -> dict[str, Array]:
    """What a fitted model predicts, by output name.

    Parameters
    ----------
    model : estimator
    outputs : sequence of Column or Tensor
        What `method_of` says; if ``predict`` computes several, each is a column of it.
    rows : pandas.DataFrame of shape (n, m)

    Returns
    -------
    dict of str to ndarray of shape (n, ...)

    Raises
    ------
    ModelFailure
        If ``predict`` does not return a value for each of them.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.dummy import DummyClassifier
    >>> X = pd.DataFrame({"age": [20, 30, 60, 70]})
    >>> model = DummyClassifier().fit(X, [False, True, True, True])
    >>> outputs = [Column("label", "boolean"), Tensor("p", "float64", (-1, 2), (False, True))]
    >>> predict_outputs(model, outputs, X.head(1))
    {'label': array([ True]), 'p': array([[0.25, 0.75]])}
    """
    # a model may write to the rows it is given, and each method has to see them as they came
    found = np.asarray(model.predict(rows.copy()))
    if found.dtype.kind == "U":
        found = found.astype(object)
    plain = [output for output in outputs if method_of(output) == "predict"]
    if len(plain) == 1:
        # labels may come as a matrix of one column
        single = isinstance(plain[0], Column) and found.ndim == 2 and found.shape[1] == 1
        result = {plain[0].name: found[:, 0] if single else found}
    elif found.ndim == 2 and found.shape[1] == len(plain):
        result = {output.name: found[:, position] for position, output in enumerate(plain)}
    else:
        raise ModelFailure(
            f"the model returned predictions of shape {found.shape} for {len(plain)} outputs"
        )
    for output in outputs:
        if output.name not in result:
            result[output.name] = np.asarray(model.predict_proba(rows.copy()), dtype=np.float64)
    return result


def empty(output: Column | Tensor) -> Array:
    """An output's values for zero rows."""
    if isinstance(output, Column):
        return np.empty(0, NUMPY_TYPES[output.type])
    shape = tuple(0 if size == -1 else size for size in output.shape)
    return np.empty(shape, "object" if output.datatype == "BYTES" else output.dtype)


def arrange(
    result: dict[str, Array], outputs: Sequence[Column | Tensor], index: Any
) -> Array | pd.DataFrame | dict[str, Array]:
    """Predictions by output name as MLflow returns them; see :meth:`Scorer.predict`.

    Parameters
    ----------
    result : dict of str to ndarray of shape (n, ...)
    outputs : sequence of Column or Tensor
    index : pandas.Index
        Of the rows that were predicted.

    Examples
    --------
    >>> arrange({"price": np.array([1.5])}, [Column("price", "double")], [0])
    array([1.5])
    """
    import pandas as pd

    if len(result) == 1:
        return next(iter(result.values()))
    if any(isinstance(output, Tensor) for output in outputs):
        return result
    return pd.DataFrame(result, index=index)


class Scorer:
    """A bundle's compiled graph or its reference pipeline, loaded.

    Parameters
    ----------
    bundle : Bundle
    pickles : bool
        Whether the pipeline may be loaded from a pickle; see `load_reference`.
    """

    def __init__(self, bundle: Bundle, *, pickles: bool = True) -> None:
        self.schema = bundle.schema
        self._pickles = pickles
        self.engine = choose_engine(bundle)
        self._bundle = bundle
        self._dtypes = [(output.name, np.dtype(_dtype(output))) for output in bundle.schema.outputs]
        self._session: OnnxSession | None = None
        if self.engine == "onnx":
            self._session = load_session(bundle)
        else:
            _ = self._reference  # now, not at the first request

    @cached_property
    def _reference(self) -> Any:
        from pyfunc_packaging.reference import load_reference

        return load_reference(
            self._bundle.data_path, code=self._bundle.path / "code", pickles=self._pickles
        )

    def get_raw_model(self) -> Any:
        """The fitted estimator itself; MLflow's ``PyFuncModel.get_raw_model`` asks for it."""
        return self._reference

    def predict(
        self, data: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> Array | pd.DataFrame | dict[str, Array]:
        """Predict raw rows.

        Parameters
        ----------
        data : pandas.DataFrame of shape (n, m)
            Columns in any order; those that the signature does not name are left out.
        params : mapping, optional
            Accepted because MLflow passes it; a bundle has no parameters.

        Returns
        -------
        ndarray of shape (n,) or (n, k)
            Where the signature names one output. A DataFrame where it names several columns; a
            dictionary of arrays by name where it names tensors, such as a classifier's labels of
            shape (n,) and probabilities of shape (n, k). These are MLflow's conventions.

        Raises
        ------
        UnsuitableData
            If a column is missing, or holds values of another kind.
        ModelFailure
            If the model does not return one prediction a row.
        """
        from pyfunc_packaging.frame import from_frame

        result = self.predict_columns(from_frame(self.schema, data), len(data))
        return arrange(result, self.schema.outputs, data.index)

    def predict_columns(self, columns: Mapping[str, Array], rows: int) -> dict[str, Array]:
        """Predict decoded columns, each of shape (rows,); see :mod:`pyfunc_packaging.frame`.

        Parameters
        ----------
        columns : mapping of str to ndarray of shape (rows,)
        rows : int
            Zero of them are predicted too, which scikit-learn itself refuses.

        Returns
        -------
        dict of str to ndarray of shape (rows, ...)
            By output name.
        """
        outputs = self.schema.outputs
        if rows == 0:
            return {output.name: empty(output) for output in outputs}
        if self._session is not None:
            found = self._session.run(columns)
            result = {
                name: values if (values := found[name]).dtype == dtype else values.astype(dtype)
                for name, dtype in self._dtypes
            }
        else:
            from pyfunc_packaging.frame import to_frame

            frame = to_frame(self.schema.columns, columns)
            result = predict_outputs(self._reference, outputs, frame)
        for array in result.values():
            if array.ndim == 0 or len(array) != rows:
                raise ModelFailure(
                    f"the model returned predictions of shape {array.shape} for {rows} rows"
                )
        return result


def _dtype(output: Column | Tensor) -> str:
    return NUMPY_TYPES[output.type] if isinstance(output, Column) else output.dtype


def load_session(bundle: Bundle) -> OnnxSession:
    """Load a bundle's compiled graph.

    Raises
    ------
    MissingDependency
        If ONNX Runtime is not installed.
    MalformedBundle
        If the graph does not load.
    """
    try:
        return OnnxSession(bundle.path / bundle.compilation["file"], bundle.schema.columns)
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"{bundle.path}: the onnx engine needs the Python module {error.name!r}; install"
            f" onnxruntime, or set {ENGINE_VARIABLE}=pyfunc to serve with scikit-learn"
        ) from error
