"""Compile Python functions by running them once on objects that record what is done to them.

What a recording claims is checked at once: the function itself and the recorded graph are both
given made-up rows, with missing, infinite, huge and tiny values where there can be any, and with
the numbers and texts that the function's code mentions. A graph that differs is not used.

Limits. A function is taken for what it does with a table: what it reads from elsewhere (a file,
the clock, a global that changes later) is read once, when it is compiled. What it writes elsewhere
is written then, and not in serving.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pandas as pd
import spox.opset.ai.onnx.v21 as op
from spox import Tensor, Var, argument, build

from pyfunc_packaging.compile import recording_frames
from pyfunc_packaging.compile.gappy import GappyInts, with_gaps
from pyfunc_packaging.compile.recording import NotRecorded, Recorder, Traced, is_users, place
from pyfunc_packaging.compile.registry import Context
from pyfunc_packaging.compile.samples import make_samples
from pyfunc_packaging.compile.table import Block, ForeignBlock, Kind, Table
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.frame import to_frame
from pyfunc_packaging.schema import Column
from pyfunc_packaging.session import MISSING_TEXT, input_dtype, to_input

Array = npt.NDArray[Any]
Function = Callable[[Any], Any]

#: How far a recording may be from the function on made-up rows, relative: this finds what is
#: recorded wrongly; roundings are for the proof of the whole model.
TOLERANCE = 1e-6

_TYPES: dict[Kind, str] = {"float": "double", "int": "long", "bool": "boolean", "text": "string"}


def trace(function: Function, table: Table, context: Context, *, what: str = "") -> Traced:
    """Record a function of a DataFrame (of an array, where the table has no names).

    Parameters
    ----------
    function : callable
        Takes one argument.
    table : Table
    context : Context
    what : str
        What the function is for, for messages; the step is named anyway.

    Returns
    -------
    Traced
        What the function returned.

    Raises
    ------
    NotCompilable
        With the line of the function that cannot be recorded.
    """
    try:
        return _trace(function, table, context)
    except NotCompilable as error:
        if what:
            raise context.error(f"{what}: {error.reason}") from error
        raise


def _trace(function: Function, table: Table, context: Context) -> Traced:
    if table.width == 0:
        raise context.error("there is no column")
    columns = _described(table)
    values = make_samples(columns, function)
    frame = to_frame(columns, values)
    if table.names is None:
        sample = _common_array(frame, table, context)
    else:
        frame.columns = pd.Index(table.names)
        sample = frame
    blocks = table.columns()
    inputs = {}
    for position, (column, block) in enumerate(zip(columns, blocks, strict=True)):
        if isinstance(block, ForeignBlock):
            continue
        inputs[column.name] = var = argument(Tensor(input_dtype(column), ("n", 1)))
        blocks[position] = Block(
            var, 1, block.kind, nan=block.nan, inf=block.inf, origin=block.origin
        )
    own = Table(tuple(blocks), table.names)
    first = _record(function, _alike(own, sample), sample, context)
    fed = [column for column in columns if column.name in inputs]
    feeds = {column.name: to_input(column, values[column.name]) for column in fed}
    _check(function, sample, first, inputs, feeds, context)
    if any(column.nullable for column in columns):
        # pandas has other types where no value is missing
        complete = make_samples([replace(c, nullable=False) for c in columns], function)
        feeds = {column.name: to_input(column, complete[column.name]) for column in fed}
        frame = to_frame(columns, complete)
        frame.columns = pd.Index(table.names or frame.columns)
        given = frame if table.names is not None else frame.to_numpy()
        _check(function, given, first, inputs, feeds, context)
    second = _record(function, _alike(table, sample), sample, context)
    if not _same(first._sample, second._sample):
        raise context.error("the function returns something else each time")
    return second


def _described(table: Table) -> list[Column]:
    """A column of the schema for each column, with a name of its own."""
    columns = []
    for position, block in enumerate(table.columns()):
        origin = block.origin or Column(
            "",
            _TYPES[block.kind],
            nullable=block.nan,
            dtype="object" if block.kind == "text" else None,
            missing="NaN" if block.kind == "text" else None,
            finite=not block.inf,
        )
        columns.append(replace(origin, name=f"x{position}"))
    return columns


def _common_array(frame: pd.DataFrame, table: Table, context: Context) -> Array:
    """The array that scikit-learn makes of columns side by side."""
    table.check_inputs()
    kinds = {block.kind for block in table.blocks}
    if len(kinds) > 1 and not kinds <= {"float", "int"}:
        raise context.error(f"an array of {' and '.join(sorted(kinds))} is not compiled")
    array: Array = frame.to_numpy()
    if array.dtype not in (np.float64, np.int64, np.bool_) and kinds != {"text"}:
        raise context.error(f"an array of {array.dtype} is not compiled")
    return array


def _alike(table: Table, sample: Any) -> Table:
    """An array has one type, and so have its columns."""
    table = with_gaps(table)
    gappy = any(isinstance(block, GappyInts) for block in table.blocks)
    if isinstance(sample, np.ndarray) and sample.dtype == np.float64 and not gappy:
        return Table((table.floats,)) if len(table.blocks) > 1 else table
    return table.unnamed()


def _record(function: Function, table: Table, sample: Any, context: Context) -> Traced:
    """Run the function on a recorded object."""
    assert recording_frames  # which registers the classes
    recorder = Recorder(_call.__code__)
    recorded = Traced.classes[type(sample)](recorder, table, sample.copy())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = _call(function, recorded)
    except NotRecorded as error:
        raise context.error(recorder.refusal or str(error)) from error
    except Exception as error:
        raise context.error(recorder.refusal or _described_error(error)) from error
    if recorder.refusal:
        raise context.error(recorder.refusal)  # the function caught the exception
    if not isinstance(result, Traced):
        kind = type(result).__name__
        raise context.error(f"the function returns {kind}, which does not come from its argument")
    if result._recorder is not recorder:
        raise context.error("the function returns what it was given in another call")
    return result


def _call(function: Function, recorded: Traced) -> Any:
    return function(recorded)


def _described_error(error: Exception) -> str:
    """An error of the function, with its line."""
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    line = _users_line(error.__traceback__)
    return f"{line}: {text}" if line else text


def _users_line(trace: TracebackType | None) -> str:
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(trace)]
    users = [(code, line) for code, line in frames if is_users(code)]
    return place(*users[-1]) if users else ""


# --- the check --------------------------------------------------------------------------------


def _check(
    function: Function,
    sample: Any,
    result: Traced,
    arguments: dict[str, Var],
    feeds: dict[str, Array],
    context: Context,
) -> None:
    """Compare a recording with the function, on the sample's rows."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            expected = function(sample.copy())
    except Exception as error:
        raise context.error(f"on made-up rows: {_described_error(error)}") from error
    if type(expected) is not type(result._sample) or np.shape(expected) != np.shape(result._sample):
        raise context.error("the function returned something else when it was recorded")
    outputs = {
        position: op.identity(block.var)
        for position, block in enumerate(result._table.columns())
        if not isinstance(block, ForeignBlock)
    }
    if not outputs:
        raise context.error("no column is left")
    named = {f"y{position}": var for position, var in outputs.items()}
    proto = build(arguments, named, drop_unused_inputs=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted = {node.name for node in session.get_inputs()}
    results = session.run(None, {name: cells for name, cells in feeds.items() if name in wanted})
    rows = len(expected)
    names = _names(result._sample)
    for position, found in zip(outputs, results, strict=True):
        cells = expected.iloc[:, position] if isinstance(expected, pd.DataFrame) else expected
        if np.ndim(cells) == 2:
            cells = cells[:, position]
        if not _equal(cells, found, rows):
            raise context.error(
                f"the recorded function differs from the function in {names[position]}; it does"
                " something that was not recorded"
            )


def _names(sample: Any) -> Sequence[str]:
    if isinstance(sample, pd.DataFrame):
        return [f"column {name!r}" for name in sample.columns]
    return [
        f"column {position}" for position in range(np.shape(sample)[1] if sample.ndim == 2 else 1)
    ]


def _equal(expected: Any, found: Array, rows: int) -> bool:
    if found.shape != (rows, 1):
        return False
    cells = found[:, 0]
    wanted = np.asarray(expected, dtype=object)
    if cells.dtype == object:
        missing = pd.isna(wanted)
        return bool(np.where(missing, cells == MISSING_TEXT, cells == wanted).all())
    numbers = pd.Series(expected).to_numpy(dtype=np.float64, na_value=np.nan)
    cells = cells.astype(np.float64)
    scale = np.maximum(np.abs(numbers), _floor(numbers))
    with np.errstate(all="ignore"):
        near = np.abs(cells - numbers) <= TOLERANCE * scale
    return bool((near | (cells == numbers) | (np.isnan(cells) & np.isnan(numbers))).all())


def _floor(numbers: Array) -> float:
    usual = np.abs(numbers[np.isfinite(numbers)])
    return float(1e-6 * np.median(usual)) if usual.size else 0.0


def _same(first: Any, second: Any) -> bool:
    """Whether two samples are equal, types included."""
    if type(first) is not type(second) or np.shape(first) != np.shape(second):
        return False
    if isinstance(first, pd.DataFrame | pd.Series):
        return bool(first.equals(second))
    if first.dtype.kind == "f":
        return bool(np.array_equal(first, second, equal_nan=True))
    return bool(pd.Series(first.ravel()).equals(pd.Series(second.ravel())))
