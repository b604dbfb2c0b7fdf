"""What a model has to show before it is ready: right predictions for its golden rows.

How long those take says how many rows a request may have to be answered on the event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mlserver.types import InferenceRequest, RequestInput

from mlserver_pyfunc.encode import Encoded
from mlserver_pyfunc.plain import Decoded
from pyfunc_packaging.bundle import Bundle
from pyfunc_packaging.errors import MalformedBundle, WrongPredictions
from pyfunc_packaging.golden import differences

Infer = Callable[[Any], Sequence[Encoded]]

#: How often the golden rows are repeated, to see what a row costs among many.
_TIMES = 50


def check_golden(bundle: Bundle, infer: Infer) -> InferenceRequest:
    """Predict the golden rows as requests are; the model is ready only if they are right.

    Parameters
    ----------
    bundle : Bundle
    infer : callable
        From the inputs of a request to its outputs.

    Returns
    -------
    mlserver.types.InferenceRequest
        The golden rows.

    Raises
    ------
    MalformedBundle
        If they are no request.
    WrongPredictions
        If other predictions are found than when the model was packaged.
    """
    golden = bundle.golden()
    try:
        request = InferenceRequest(
            inputs=[RequestInput(**tensor) for tensor in golden["request"]["inputs"]]
        )
    except (TypeError, ValueError) as error:  # pydantic's are of the latter
        raise MalformedBundle(
            f"{bundle.path}: expected a V2 request in data/golden.json, found something else;"
            f" package the model again"
        ) from error
    found = [output.to_json() for output in infer(request.inputs)]
    difference = differences(golden["response"], {"outputs": found})
    if difference is not None:
        raise WrongPredictions(
            f"{bundle.path}: the golden rows are not predicted as they were when the model was"
            f" packaged: {difference}. Compare the versions in data/manifest.json with those"
            f" installed here"
        )
    return request


def count_prompt_rows(golden: Decoded, infer: Infer, *, seconds: float) -> int:
    """How many rows are predicted within some time here, by the time that golden rows take.

    Parameters
    ----------
    golden : Decoded
    infer : callable
        As for `check_golden`.
    seconds : float

    Examples
    --------
    >>> rows = Decoded({"x": np.zeros(4)}, 4)
    >>> 40 < count_prompt_rows(rows, lambda some: time.sleep(some.rows * 1e-4), seconds=0.01) < 110
    True
    """
    many = Decoded(
        {
            name: cells[np.tile(np.arange(golden.rows), _TIMES)]
            for name, cells in golden.values.items()
        },
        golden.rows * _TIMES,
    )
    short, long = _time(infer, golden), _time(infer, many)
    each = max(long - short, 1e-9) / (golden.rows * (_TIMES - 1))
    return max(int((seconds - short) / each), golden.rows if short < seconds else 0)


def _time(infer: Infer, rows: Decoded) -> float:
    taken = []
    for _ in range(5):  # the first ones warm up
        start = time.perf_counter()
        infer(rows)
        taken.append(time.perf_counter() - start)
    return min(taken)
