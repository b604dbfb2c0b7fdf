"""Predictions from a bundle in this process: a DataFrame in, an array out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyfunc_packaging.errors import ModelFailure
from pyfunc_packaging.frame import Array, from_frame, to_frame
from pyfunc_packaging.reference import load_reference
from pyfunc_packaging.schema import NUMPY_TYPES, Column

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyfunc_packaging.bundle import Bundle


class Scorer:
    """A bundle's reference pipeline, loaded.

    Parameters
    ----------
    bundle : Bundle
    """

    def __init__(self, bundle: Bundle) -> None:
        self.schema = bundle.schema
        self._model = load_reference(bundle.data_path, code=bundle.path / "code")

    def get_raw_model(self) -> Any:
        """The fitted estimator itself; MLflow's ``PyFuncModel.get_raw_model`` asks for it."""
        return self._model

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
        result = self.predict_columns(from_frame(self.schema, data), len(data))
        names = [output.name for output in self.schema.outputs]
        return result if len(names) == 1 else pd.DataFrame(result, columns=names, index=data.index)

    def predict_columns(self, columns: Mapping[str, Array], rows: int) -> npt.NDArray[Any]:
        """Predict decoded columns, each of shape (rows,); see :mod:`pyfunc_packaging.frame`."""
        if rows == 0:
            return self._nothing()
        result = np.asarray(self._model.predict(to_frame(self.schema.columns, columns)))
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
