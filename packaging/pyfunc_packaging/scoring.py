"""Predictions from a bundle in this process: a DataFrame in, an array out."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyfunc_packaging.errors import InvalidArgument, MissingDependency, ModelFailure
from pyfunc_packaging.schema import NUMPY_TYPES, Column
from pyfunc_packaging.session import OnnxSession

if TYPE_CHECKING:
    from collections.abc import Mapping

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


class Scorer:
    """A bundle's compiled graph or its reference pipeline, loaded.

    Parameters
    ----------
    bundle : Bundle
    """

    def __init__(self, bundle: Bundle) -> None:
        self.schema = bundle.schema
        self.engine = choose_engine(bundle)
        self._bundle = bundle
        self._session: OnnxSession | None = None
        if self.engine == "onnx":
            self._session = load_session(bundle)
        else:
            _ = self._reference  # now, not at the first request

    @cached_property
    def _reference(self) -> Any:
        from pyfunc_packaging.reference import load_reference

        return load_reference(self._bundle.data_path, code=self._bundle.path / "code")

    def get_raw_model(self) -> Any:
        """The fitted estimator itself; MLflow's ``PyFuncModel.get_raw_model`` asks for it."""
        return self._reference

    def predict(
        self, data: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> npt.NDArray[Any] | pd.DataFrame:
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
            A DataFrame with one column an output where the signature names several.

        Raises
        ------
        UnsuitableData
            If a column is missing, or holds values of another kind.
        ModelFailure
            If the model does not return one prediction a row.
        """
        import pandas as pd

        from pyfunc_packaging.frame import from_frame

        result = self.predict_columns(from_frame(self.schema, data), len(data))
        names = [output.name for output in self.schema.outputs]
        return result if len(names) == 1 else pd.DataFrame(result, columns=names, index=data.index)

    def predict_columns(self, columns: Mapping[str, Array], rows: int) -> npt.NDArray[Any]:
        """Predict decoded columns, each of shape (rows,); see :mod:`pyfunc_packaging.frame`."""
        if rows == 0:
            return self._nothing()
        if self._session is not None:
            result = self._session.run(columns)["prediction"]
            first = self.schema.outputs[0]
            dtype = NUMPY_TYPES[first.type] if isinstance(first, Column) else first.dtype
            result = result.astype(dtype, copy=False)
        else:
            from pyfunc_packaging.frame import to_frame

            result = np.asarray(self._reference.predict(to_frame(self.schema.columns, columns)))
        if result.ndim == 0 or len(result) != rows:
            raise ModelFailure(
                f"the model returned predictions of shape {result.shape} for {rows} rows"
            )
        return result

    def _nothing(self) -> npt.NDArray[Any]:
        """Predictions for zero rows, which scikit-learn itself refuses to make."""
        first = self.schema.outputs[0]
        if isinstance(first, Column):
            count = len(self.schema.outputs)
            return np.empty((0,) if count == 1 else (0, count), NUMPY_TYPES[first.type])
        return np.empty((0, *first.shape[1:]), first.dtype)


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
