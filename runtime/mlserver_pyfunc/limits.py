"""How many rows and inputs a request may have; how many bytes is said in `bodies`."""

from __future__ import annotations

import os
from functools import cache
from typing import NamedTuple

from pyfunc_packaging.errors import InvalidSetting, RequestTooLarge

ROWS_VARIABLE = "PYFUNC_MAX_ROWS"
INPUTS_VARIABLE = "PYFUNC_MAX_INPUTS"
#: Rows of ten columns that fill the default limit of a body, as JSON.
DEFAULT_ROWS = 1_000_000
#: More inputs than any model has; each costs memory before it can be refused.
DEFAULT_INPUTS = 10_000


class Limits(NamedTuple):
    """What a request may have at most."""

    rows: int
    inputs: int


@cache
def read_limits() -> Limits:
    """The limits that the environment sets, read once a process.

    Raises
    ------
    InvalidSetting
        If ``PYFUNC_MAX_ROWS`` or ``PYFUNC_MAX_INPUTS`` is no positive integer.
    """
    return Limits(
        _read(ROWS_VARIABLE, DEFAULT_ROWS, "rows"),
        _read(INPUTS_VARIABLE, DEFAULT_INPUTS, "inputs"),
    )


def _read(variable: str, default: int, what: str) -> int:
    given = os.environ.get(variable) or str(default)
    if not (given.isascii() and given.isdigit()) or int(given) == 0:
        raise InvalidSetting(f"{variable} should be a number of {what}, found {given!r:.80}")
    return int(given)


def check_rows(rows: int, limit: int) -> None:
    """Refuse a request of too many rows.

    Raises
    ------
    RequestTooLarge

    Examples
    --------
    >>> check_rows(100, 100)
    """
    if rows > limit:
        raise RequestTooLarge(
            f"expected at most {limit} rows in a request, got {rows}; send fewer, or let the server"
            f" take more with {ROWS_VARIABLE}"
        )


def check_inputs(inputs: int, limit: int) -> None:
    """Refuse a request of too many inputs.

    Raises
    ------
    RequestTooLarge

    Examples
    --------
    >>> check_inputs(9, 10_000)
    """
    if inputs > limit:
        raise RequestTooLarge(
            f"expected at most {limit} inputs in a request, got {inputs}; send those of the model,"
            f" or let the server take more with {INPUTS_VARIABLE}"
        )
