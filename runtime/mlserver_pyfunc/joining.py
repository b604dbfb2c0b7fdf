"""Whether requests may be predicted together: only where that changes no bit of any answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlserver_pyfunc.plain import Decoded
from pyfunc_packaging.bundle import Bundle
from pyfunc_packaging.errors import PyFuncError
from pyfunc_packaging.graph_check import find_operators

#: Operators of ONNX that round one way where the processor computes several numbers at once, and
#: another way for those that are left over: the last bit of a row depends on where it stands.
_ROUND_BY_PLACE = frozenset(
    {
        *("Exp", "Log", "Pow", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh"),
        *("Tanh", "Asinh", "Acosh", "Atanh", "Erf", "Sigmoid", "Softmax", "LogSoftmax"),
        *("Softplus", "Gelu", "Elu", "Celu", "Selu", "Mish", "Swish"),
    }
)
#: Rows that are predicted alone and together, and among how many others.
_ROWS = 64
_SIZES = (*range(2, 18), 33, _ROWS)


def may_join(
    bundle: Bundle,
    golden: Decoded,
    predict: Callable[[Decoded], Any],
    predict_together: Callable[[Sequence[Decoded]], Sequence[Any]],
) -> bool:
    """Whether what is predicted for a row never depends on the rows beside it.

    Parameters
    ----------
    bundle : Bundle
        With a compiled graph.
    golden : Decoded
        Its golden rows, of which others are made.
    predict, predict_together : callable
        Answers of one request, and of several.
    """
    graph = Path(bundle.path, bundle.manifest["compilation"]["file"]).read_bytes()
    if find_operators(graph) & _ROUND_BY_PLACE:
        return False
    try:
        return agree(vary(golden), predict, predict_together)
    except PyFuncError:  # the model does not take such rows, so that nobody knows
        return False


def vary(rows: Decoded) -> list[Decoded]:
    """Rows like the given ones, each by itself: floats up to a tenth larger or smaller.

    Parameters
    ----------
    rows : Decoded
        At least one.

    Examples
    --------
    >>> varied = vary(Decoded({"x": np.array([1.0, 10.0])}, 2))
    >>> len(varied), varied[1].values["x"].round(2).tolist()
    (64, [9.54])
    """
    order = np.random.default_rng(0)
    places = np.arange(_ROWS) % rows.rows
    factors = order.uniform(0.9, 1.1, _ROWS)
    values = {name: cells[places] for name, cells in rows.values.items()}
    for name, cells in values.items():
        if cells.dtype == np.float64:
            values[name] = cells * factors.reshape(-1, *[1] * (cells.ndim - 1))
    return [
        Decoded({name: cells[[place]] for name, cells in values.items()}, 1)
        for place in range(_ROWS)
    ]


def agree(
    alone: Sequence[Decoded],
    predict: Callable[[Decoded], Any],
    predict_together: Callable[[Sequence[Decoded]], Sequence[Any]],
) -> bool:
    """Whether rows get the same answers together as alone, in batches of many sizes.

    Parameters
    ----------
    alone : sequence of Decoded
        Of one row each.
    predict, predict_together : callable
        Answers of one request, and of several.

    Examples
    --------
    >>> rows = vary(Decoded({"x": np.array([1.0])}, 1))
    >>> double = lambda row: (row.values["x"] * 2).tolist()
    >>> agree(rows, double, lambda some: [double(row) for row in some])
    True
    """
    answers = [repr(predict(row)) for row in alone]
    return all(
        [repr(answer) for answer in predict_together(alone[part])] == answers[part]
        for part in _parts()
    )


def _parts() -> Iterator[slice]:
    """Batches of every size, each from another place on."""
    start = 0
    for size in _SIZES:
        start = start if start + size <= _ROWS else 0
        yield slice(start, start + size)
        start += size
