"""A compiled pipeline in ONNX Runtime: decoded columns in, predictions out.

Needs numpy and onnxruntime only: no pandas, no scikit-learn, nothing that is unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyfunc_packaging.errors import MalformedBundle, UnsuitableData, ValuesRefused
from pyfunc_packaging.graph_check import find_control_flow
from pyfunc_packaging.ranges import check_exact, check_range, limits
from pyfunc_packaging.schema import NUMPY_TYPES, Column

Array = npt.NDArray[Any]

#: Stands for a missing text inside a graph, whose strings have no null: a noncharacter, which
#: Unicode (section 23.7) keeps free for use within a program.
MISSING_TEXT = "\ufdd0"

#: Name of the graph's bool output; where an element is true, the reference would have raised.
REFUSED = "refused"

#: Optimisations of ONNX Runtime that change results: this one takes float64 constants for 1 or 0
#: that are so in float32 only, and leaves out ``x * 1.00000001`` (seen in 1.32).
INEXACT_OPTIMIZERS = ["NoopElimination"]


class OnnxSession:
    """A compiled pipeline, loaded.

    Parameters
    ----------
    model : bytes or pathlib.Path
        The ONNX model.
    columns : sequence of Column
        The signature's columns, which are the graph's inputs.
    threads : int
        Threads of ONNX Runtime; one by default, since replicas are what scales.
    """

    def __init__(self, model: bytes | Path, columns: Sequence[Column], *, threads: int = 1) -> None:
        import onnxruntime

        if isinstance(model, Path):  # what a bundle brings; bytes are those of our own compiler
            _check(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3  # errors; its warnings are about its own optimisations
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(
                source,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=INEXACT_OPTIMIZERS,
            )
        except Exception as error:  # onnxruntime's errors share no base class
            raise MalformedBundle(f"the compiled graph does not load: {error}") from error
        # Its own ``run`` first asks for every input's name once more, in Python: a fifth of what
        # one row takes. `run` below feeds exactly the inputs that the graph has.
        self._run = getattr(self._session, "_sess", self._session).run
        used = {node.name for node in self._session.get_inputs()}
        self._columns = [
            (column.name, column, _as_it_is(column)) for column in columns if column.name in used
        ]
        self._outputs = [node.name for node in self._session.get_outputs()]
        self._results = [name for name in self._outputs if name != REFUSED]
        self._refused = self._outputs.index(REFUSED) if REFUSED in self._outputs else None

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Predict decoded columns.

        Parameters
        ----------
        values : mapping of str to ndarray of shape (n,)
            As :mod:`pyfunc_packaging.frame` describes, n at least 1.

        Returns
        -------
        dict of str to ndarray
            The graph's outputs by name.

        Raises
        ------
        ValuesRefused
            If the reference would refuse these values.
        UnsuitableData
            If a value does not fit the dtype that its column had in training.
        """
        feeds = {}
        for name, column, dtype in self._columns:
            cells = values[name]
            if cells.dtype is dtype and type(cells) is np.ndarray:
                feeds[name] = cells.reshape(-1, 1)
            else:
                feeds[name] = to_input(column, cells)
        try:
            found = self._run(self._outputs, feeds, None)
        except UnicodeEncodeError as error:
            raise UnsuitableData(
                "a text holds half of a surrogate pair, which is no Unicode text; mend what wrote"
                " it, or send null for a missing value"
            ) from error
        # count_nonzero takes a tenth of the time of any()
        if self._refused is not None and np.count_nonzero(found.pop(self._refused)):
            raise ValuesRefused(
                "the model refuses these values: one is infinite, too large, missing or unknown to"
                " it, or becomes so on the way through the pipeline"
            )
        return dict(zip(self._results, found, strict=True))


def _check(path: Path) -> None:
    """Refuse a graph that could keep the server busy for ever."""
    if path.suffix != ".onnx":  # ONNX Runtime goes by the name, and reads another format, too
        raise MalformedBundle(f"{path}: expected the name of a compiled graph to end in .onnx")
    try:
        found = find_control_flow(path.read_bytes())
    except ValueError as error:
        raise MalformedBundle(f"the compiled graph does not load: {path}: {error}") from error
    if found is not None:
        raise MalformedBundle(
            f"{path}: the graph holds {found}; package_model() writes none but loops over rows, so"
            f" package the model again"
        )


def input_dtype(column: Column) -> Any:
    """Dtype of a column's input tensor in the graph."""
    if column.type in ("double", "float"):
        return np.float64
    if column.type in ("integer", "long"):
        return np.float64 if column.nullable else np.int64
    if column.type == "boolean":
        return np.float64 if column.nullable else np.bool_
    return np.str_


def _as_it_is(column: Column) -> np.dtype[Any] | None:
    """The dtype in which cells need no conversion and no check; None where all are looked at."""
    dtype = input_dtype(column)
    if dtype not in (np.float64, np.int64) or limits(column.dtype) is not None:
        return None
    return np.dtype(dtype) if NUMPY_TYPES[column.type] == np.dtype(dtype).name else None


def to_input(column: Column, values: Array) -> Array:
    """One decoded column as the graph takes it, of shape (n, 1)."""
    dtype = input_dtype(column)
    if dtype is np.str_:
        return _texts(column, values)
    check_range(column, values)
    if isinstance(values, np.ma.MaskedArray):
        values = _unmasked(column, values)
    return values.astype(dtype, copy=False).reshape(-1, 1)


def _texts(column: Column, values: Array) -> Array:
    cells = values.tolist()
    if MISSING_TEXT in cells:
        raise UnsuitableData(
            f"column {column.name!r}: holds the text U+FDD0, which Unicode reserves and which"
            f" stands for a missing value here; send null for one"
        )
    if None in cells:
        values = np.array([MISSING_TEXT if cell is None else cell for cell in cells], dtype=object)
    return values.reshape(-1, 1)


def _unmasked(column: Column, values: np.ma.MaskedArray[Any, Any]) -> Array:
    """Integers or booleans with gaps as floats with NaN."""
    missing = np.ma.getmaskarray(values)
    data = np.ma.getdata(values)
    if data.dtype.kind in "iu":
        check_exact(column, data, missing)
    return np.where(missing, np.nan, data.astype(np.float64))
