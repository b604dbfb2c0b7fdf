"""Predictions to V2 output tensors, as the signature and the metadata say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyfunc_packaging.errors import InvalidRequest, ModelFailure
from pyfunc_packaging.frame import to_json
from pyfunc_packaging.schema import NUMPY_TYPES, TENSOR_DATATYPES, Column, Tensor

Array = npt.NDArray[Any]
Output = Column | Tensor


@dataclass(slots=True, eq=False, repr=False)
class Encoded:
    """One output tensor.

    Parameters
    ----------
    name, datatype : str
    shape : list of int
    cells : list, or ndarray of numbers
        Flat, in row-major order. BYTES are bytes and a missing number is NaN, as gRPC needs them.
        The REST server writes text and null, and so does :meth:`to_json`.
    """

    name: str
    datatype: str
    shape: list[int]
    cells: list[Any] | Array

    @property
    def data(self) -> list[Any]:
        """The cells as a list, made anew each time."""
        return self.cells.tolist() if isinstance(self.cells, np.ndarray) else self.cells

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Encoded) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.name, self.datatype))

    def __repr__(self) -> str:
        return "Encoded(name={!r}, datatype={!r}, shape={!r}, data={!r})".format(*self._key())

    def _key(self) -> tuple[str, str, list[int], list[Any]]:
        return self.name, self.datatype, self.shape, self.data

    def to_json(self) -> dict[str, Any]:
        """The tensor as it stands in a JSON response."""
        return {
            "name": self.name,
            "datatype": self.datatype,
            "shape": self.shape,
            "data": [_cell_to_json(cell) for cell in self.data],
        }


def _cell_to_json(cell: Any) -> Any:
    if isinstance(cell, bytes):
        return cell.decode()
    return None if isinstance(cell, float) and math.isnan(cell) else cell


class Encoder:
    """Encodes the predictions of one model.

    Parameters
    ----------
    outputs : sequence of Column or Tensor

    Examples
    --------
    >>> encoder = Encoder([Column("price", "double", nullable=True)])
    >>> encoder.encode({"price": np.array([1.5, np.nan])}, rows=2)
    [Encoded(name='price', datatype='FP64', shape=[2], data=[1.5, nan])]
    """

    def __init__(self, outputs: Sequence[Output]) -> None:
        self._outputs = {output.name: output for output in outputs}
        self._names = list(self._outputs)
        self._dtypes = {output.name: _dtype(output) for output in outputs}

    def select(self, requested: Sequence[str] | None) -> list[str]:
        """Names of the outputs to send: those asked for, in that order, or all.

        Raises
        ------
        InvalidRequest
            If one is unknown, or asked for twice.
        """
        if not requested:
            return self._names
        for name in requested:
            if name not in self._outputs:
                known = ", ".join(map(repr, self._outputs))
                raise InvalidRequest(f"output {name!r:.80}: unknown; the model returns {known}")
        if len(set(requested)) != len(requested):
            raise InvalidRequest("outputs: expected each name once, got one more than once")
        return list(requested)

    def encode(
        self, predictions: Mapping[str, Array], *, rows: int, names: Sequence[str] | None = None
    ) -> list[Encoded]:
        """Encode predictions by output name.

        Parameters
        ----------
        predictions : mapping of str to ndarray of shape (rows, ...)
        rows : int
        names : sequence of str, optional
            What :meth:`select` returned.

        Raises
        ------
        ModelFailure
            If an array does not fit the signature.
        """
        return [
            _encode(self._outputs[name], self._dtypes[name], predictions[name], rows)
            for name in (self._names if names is None else names)
        ]


def _dtype(output: Output) -> np.dtype[Any]:
    """What an output's values are."""
    if isinstance(output, Column):
        return np.dtype(NUMPY_TYPES[output.type])
    return np.dtype("object" if output.datatype == "BYTES" else output.dtype)


def _encode(output: Output, dtype: np.dtype[Any], values: Array, rows: int) -> Encoded:
    if values.shape == (rows,) and values.dtype == dtype and _is_number(output, dtype, values):
        return Encoded(output.name, output.datatype, [rows], values)  # what most models return
    if values.ndim == 0 or len(values) != rows:
        raise ModelFailure(
            f"the model returned shape {list(values.shape)} for output {output.name!r} of a request"
            f" with {rows} rows"
        )
    if isinstance(output, Column):
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim != 1:
            raise ModelFailure(
                f"the model returned shape {list(values.shape)} for output {output.name!r}, which"
                f" the signature says is a column"
            )
    elif len(values.shape) != len(output.shape) or any(
        want not in (-1, got) for want, got in zip(output.shape, values.shape, strict=True)
    ):
        raise ModelFailure(
            f"the model returned shape {list(values.shape)} for output {output.name!r}, where the"
            f" signature says {list(output.shape)}"
        )
    kind = output.type if isinstance(output, Column) else ""
    cells = _cast(output, dtype, values.ravel())
    if output.datatype != "BYTES" and not isinstance(cells, np.ma.MaskedArray):
        return Encoded(output.name, output.datatype, list(values.shape), cells)
    data = to_json(kind, cells) if kind == "datetime" else cells.tolist()
    if output.datatype == "BYTES":
        data = [cell.encode() if isinstance(cell, str) else cell for cell in data]
    return Encoded(output.name, output.datatype, list(values.shape), data)


def _is_number(output: Output, dtype: np.dtype[Any], values: Array) -> bool:
    return dtype.kind in "fiub" and type(values) is np.ndarray and isinstance(output, Column)


def _cast(output: Output, wanted: np.dtype[Any], values: Array) -> Array:
    """Values in the output's dtype; a conversion that loses something is the model's failure."""
    if values.dtype == wanted:
        if wanted.kind == "O":
            _check_text(output, values)
        return values
    if wanted.kind == "O":
        raise ModelFailure(_other_type(output, values))
    if wanted.kind == "M" and values.dtype.kind == "M":
        return values.astype(wanted)
    if values.dtype.kind == "c":  # numpy would warn, and drop the imaginary part
        raise ModelFailure(_other_type(output, values))
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            result = values.astype(wanted)
            same = (result == values) | ((values != values) & (result != result))  # noqa: PLR0124 - NaN
        if wanted.kind == "f" and values.dtype == object:
            same |= np.array([cell is None for cell in values], dtype=bool)  # became NaN
    except (TypeError, ValueError) as error:
        raise ModelFailure(_other_type(output, values)) from error
    if not np.all(same):
        raise ModelFailure(_other_type(output, values))
    return result


def _check_text(output: Output, values: Array) -> None:
    """An object array may hold anything; a BYTES tensor only text, bytes and what is missing."""
    kinds: tuple[type, ...] = (str, bytes)
    if isinstance(output, Column):
        kinds = (bytes,) if output.type == "binary" else (str,)
    for cell in values:
        if cell is not None and not isinstance(cell, kinds):
            raise ModelFailure(
                f"the model returned {type(cell).__name__} among the values of output"
                f" {output.name!r}, where its signature says text"
            )


def _other_type(output: Output, values: Array) -> str:
    return (
        f"the model returned {values.dtype} for output {output.name!r}, where its signature says"
        f" {output.type if isinstance(output, Column) else output.dtype}; log the model again with"
        f" infer_signature(X, model.predict(X))"
    )


# --- what a model may return ------------------------------------------------------------------


def name_predictions(result: Any, outputs: Sequence[Output]) -> dict[str, Array]:
    """Split what a model returned into named arrays.

    Parameters
    ----------
    result : DataFrame, Series, ndarray, list, dict of arrays, or scalar
    outputs : sequence of Column or Tensor
        The outputs that the signature names; empty if it names none.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    ModelFailure
        If the names or their number are not those of the signature.

    Examples
    --------
    >>> name_predictions([1, 2], [Column("n", "long")])
    {'n': array([1, 2])}
    """
    names = [output.name for output in outputs]
    if isinstance(result, list) and result and all(isinstance(row, dict) for row in result):
        keys = dict.fromkeys(key for row in result for key in row)
        result = {key: [row.get(key) for row in result] for key in keys}
    if hasattr(result, "columns") and hasattr(result, "iloc"):  # a DataFrame, without importing it
        if not result.columns.is_unique:
            raise ModelFailure("the model returned a DataFrame that repeats a column name")
        parts = {str(name): _to_array(result[name]) for name in result.columns}
    elif isinstance(result, dict):
        parts = {str(name): _to_array(part) for name, part in result.items()}
    else:
        return _name_array(_to_array(result), names)
    if not names or set(names) == set(parts):
        return parts
    if len(names) == len(parts) and all(name.startswith("output-") for name in names):
        return dict(zip(names, parts.values(), strict=True))
    raise ModelFailure(
        f"the model returned {', '.join(map(repr, parts))}, where its signature says"
        f" {', '.join(map(repr, names))}"
    )


def _name_array(values: Array, names: Sequence[str]) -> dict[str, Array]:
    if len(names) <= 1:
        return {(names[0] if names else "output-0"): values}
    if values.ndim == 2 and values.shape[1] == len(names):
        return {name: values[:, position] for position, name in enumerate(names)}
    raise ModelFailure(
        f"the model returned an array of shape {list(values.shape)}, where its signature says"
        f" {len(names)} outputs"
    )


def _to_array(part: Any) -> Array:
    if hasattr(part, "to_numpy"):
        kind = getattr(part.dtype, "kind", "O")
        missing = part.isna()
        if kind not in "fM" and missing.any():
            cells: Array = part.to_numpy(dtype=object, copy=True)
            cells[missing.to_numpy()] = None
            return cells
        part = part.to_numpy()
    elif hasattr(part, "toarray"):  # a scipy sparse matrix
        part = part.toarray()
    try:
        values = np.asarray(part)
    except ValueError as error:
        raise ModelFailure("the model returned lists of different lengths") from error
    if values.dtype.kind in "US":
        values = values.astype(object)
    return values


def describe(predictions: Mapping[str, Array]) -> tuple[Output, ...]:
    """Describe arrays that a model really returned, for a signature that does not.

    Raises
    ------
    ModelFailure
        If no V2 datatype can carry one.
    """
    result: list[Output] = []
    for name, values in predictions.items():
        if values.dtype.kind == "M":
            result.append(Column(name, "datetime", nullable=True))
            continue
        dtype = str(values.dtype)
        if dtype not in TENSOR_DATATYPES:
            raise ModelFailure(
                f"the model returned {dtype} for output {name!r}, which no datatype can carry"
            )
        result.append(Tensor(name, dtype, (-1, *values.shape[1:])))
    return tuple(result)
