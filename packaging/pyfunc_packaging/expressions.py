"""A small expression language over the columns of a table.

An expression such as ``total_rooms / households`` describes an engineered feature as data:
it can be stored, checked, evaluated with numpy and compiled to a graph. It is read by
our own parser and by nothing else, so an expression can never run code.

============  ==============================================================================
operators     ``+ - * / // % **``, ``< <= > >= == !=``, ``and or not``; binding as in Python
also          ``& | ~`` between conditions, and parentheses
numbers       ``3``, ``0.5``, ``1e-3``
text          ``'INLAND'`` or ``"INLAND"``, only to compare a column with ``==`` or ``!=``
columns       ``median_income``, or in back-quotes: ```median income```
functions     ``where(condition, a, b)``, ``clip(x, low, high)``, ``minimum(a, b)``,
              ``maximum(a, b)``, ``isnan(x)``, ``abs exp expm1 log log1p sqrt``
============  ==============================================================================

A quote inside a quoted text or name is written twice. Arithmetic is numpy's in float64:
``x / 0`` is infinite, ``log(-1)`` is NaN and NaN propagates. As a condition, a number counts
as true when it is not zero (so NaN counts as true, as in numpy).
"""

from __future__ import annotations

import numbers
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfunc_packaging._expression_nodes import (
    FUNCTIONS,
    MAX_DEPTH,
    Binary,
    Call,
    Column,
    ExpressionError,
    Node,
    Number,
    String,
    Unary,
    fail,
    unknown,
    walk_columns,
)
from pyfunc_packaging._expression_parser import parse_tree

__all__ = [
    "FUNCTIONS",
    "MAX_DEPTH",
    "Binary",
    "Call",
    "Column",
    "Expression",
    "ExpressionError",
    "Node",
    "Number",
    "String",
    "Unary",
    "parse",
    "plain_column",
]

_UNARY_FUNCTIONS = {
    "abs": np.abs,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
}
_ARITHMETIC = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": np.floor_divide,
    "%": np.remainder,
    "**": np.power,
    "minimum": np.minimum,
    "maximum": np.maximum,
}
_COMPARISONS = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression; made by `parse`.

    Attributes
    ----------
    text : str
        The expression as written.
    root : Node
        Its tree, at most `MAX_DEPTH` high.
    columns : tuple of str
        Names of the columns it reads, in the order of their first use.
    """

    text: str
    root: Node
    columns: tuple[str, ...]

    def evaluate(self, mapping: Mapping[str, Any]) -> NDArray[Any]:
        """Compute the expression.

        Parameters
        ----------
        mapping : Mapping of str to array-like
            The columns by name, all of one shape: arrays, lists or pandas Series of any
            numeric dtype (missing values become NaN), or of text. Others are ignored.

        Returns
        -------
        ndarray
            A new array of the columns' shape; bool for a condition, float64 for the rest.
            An expression without columns takes the shape of the first column of `mapping`.

        Raises
        ------
        ExpressionError
            A column is absent, the columns' shapes differ, or text stands where a number
            is needed (or the reverse).

        Examples
        --------
        >>> rooms = parse("where(households != 0, rooms / households, 0)")
        >>> rooms.evaluate({"rooms": [6, 8, 5], "households": [2, 0, None]})
        array([ 3.,  0., nan])
        """
        values: dict[str, NDArray[Any]] = {}
        for column in walk_columns(self.root):
            if column.name not in mapping:
                fail(self.text, column.position, unknown("column", column.name, list(mapping)))
            try:
                values[column.name] = plain_column(mapping[column.name])
            except ExpressionError as error:
                fail(self.text, column.position, f"column {column.name!r}: {error}", error)
        shapes = {name: value.shape for name, value in values.items()}
        if len(set(shapes.values())) > 1:
            found = ", ".join(f"{name!r} {shape}" for name, shape in shapes.items())
            fail(self.text, 0, f"expected columns of one shape, found {found}")
        shape = next(iter(shapes.values()), None)
        if shape is None:
            shape = next((np.shape(value) for value in mapping.values()), ())
        # Division by zero and the like are data here, not programming errors.
        with np.errstate(all="ignore"):
            result = self._value(self.root, values)
        return np.array(np.broadcast_to(result, shape))

    def _value(self, node: Node, values: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Value of one node, bool or float64."""

        def number(operand: Node) -> NDArray[np.float64]:
            return np.asarray(self._value(operand, values), dtype=np.float64)

        def truth(operand: Node) -> NDArray[np.bool_]:
            value = self._value(operand, values)
            return np.asarray(value if value.dtype == np.bool_ else value != 0)

        match node:
            case Number(value):
                return np.asarray(value, dtype=np.float64)
            case Column(name):
                if values[name].dtype == object:
                    what = f"column {name!r} holds text, expected numbers; text can only be"
                    fail(self.text, node.position, f"{what} compared by == or != with a literal")
                return values[name]
            case Unary("-", operand):
                return np.negative(number(operand))
            case Unary("not", operand):
                return np.logical_not(truth(operand))
            case Binary("and", left, right):
                return np.logical_and(truth(left), truth(right))
            case Binary("or", left, right):
                return np.logical_or(truth(left), truth(right))
            case Binary(operator, Column() as column, String(text)) | Binary(
                operator, String(text), Column() as column
            ):
                equal = self._equals_text(column, values[column.name], text)
                return equal if operator == "==" else ~equal
            case Binary(operator, left, right) if operator in _COMPARISONS:
                return np.asarray(_COMPARISONS[operator](number(left), number(right)))
            case Binary(operator, left, right) | Call(
                ("minimum" | "maximum") as operator, (left, right)
            ):
                return np.asarray(_ARITHMETIC[operator](number(left), number(right)))
            case Call("isnan", (Column(name),)) if values[name].dtype == object:
                return np.asarray(values[name] == None, dtype=np.bool_)  # noqa: E711 - by element
            case Call("isnan", (operand,)):
                return np.isnan(number(operand))
            case Call("clip", (operand, low, high)):
                return np.minimum(np.maximum(number(operand), number(low)), number(high))
            case Call("where", (condition, left, right)):
                return np.where(truth(condition), number(left), number(right))
            case Call(function, (operand,)):
                return np.asarray(_UNARY_FUNCTIONS[function](number(operand)))
        raise AssertionError(f"the parser made a node that evaluate() does not know: {node!r}")

    def _equals_text(self, column: Column, values: NDArray[Any], text: str) -> NDArray[np.bool_]:
        """Which values equal a text literal; a missing value equals none."""
        if values.dtype != object and not np.all(np.isnan(values)):
            what = f"column {column.name!r} holds numbers, expected text to compare with {text!r}"
            fail(self.text, column.position, f"{what}; compare it with a number")
        return np.asarray(values == text, dtype=np.bool_)


def parse(text: str, *, columns: Collection[str] | None = None) -> Expression:
    """Read an expression.

    Parameters
    ----------
    text : str
        The expression; the module's documentation lists what it may hold.
    columns : Collection of str, optional
        The columns there are. Without it any column name is accepted.

    Returns
    -------
    Expression

    Raises
    ------
    ExpressionError
        `text` is not an expression; the message marks the place and says what was expected.

    Examples
    --------
    >>> parse("total_rooms / `house holds`").columns
    ('total_rooms', 'house holds')
    >>> parse("room * 2", columns=["rooms", "income"])
    Traceback (most recent call last):
        ...
    pyfunc_packaging.expressions.ExpressionError: unknown column 'room'; did you mean 'rooms'? \
There are: 'income', 'rooms'
        room * 2
        ^
    """
    if not isinstance(text, str):
        raise ExpressionError(f"expected an expression as str, found {type(text).__name__}")
    if isinstance(columns, str):
        raise ExpressionError("expected columns as a collection of str, found one str")
    root = parse_tree(text, columns)
    names = dict.fromkeys(column.name for column in walk_columns(root))
    return Expression(text, root, tuple(names))


def plain_column(values: Any) -> NDArray[Any]:
    """Bring a column of any origin into one of two plain forms.

    Parameters
    ----------
    values : array-like
        A numpy array, masked or not, a list or a pandas Series, nullable and categorical
        dtypes included.

    Returns
    -------
    ndarray
        float64 with NaN for missing values, or, when there is text in it, object with None
        for missing values. A column without any value counts as numbers.

    Raises
    ------
    ExpressionError
        The values are neither numbers nor text.

    Examples
    --------
    >>> plain_column([True, None, 3])
    array([ 1., nan,  3.])
    >>> plain_column(["a", float("nan")])
    array(['a', None], dtype=object)
    """
    if not hasattr(values, "dtype"):
        values = np.asarray(values, dtype=object)
    if isinstance(values, np.ma.MaskedArray):
        missing = np.ma.getmaskarray(values)
        values = np.ma.getdata(values).astype(object)
        values[missing] = None
    kind = getattr(values.dtype, "kind", "O")
    if kind in "biuf":
        if hasattr(values, "to_numpy"):  # pandas: the only way to convert a nullable column
            return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
        return np.asarray(values, dtype=np.float64)
    if kind in "mM":  # numpy would turn some of these into bare integers
        raise ExpressionError(f"expected numbers or text, found {values.dtype}; convert it first")
    objects = np.array(values, dtype=object)
    has_text = False
    for index, value in np.ndenumerate(objects):
        if isinstance(value, str):
            has_text = True
        elif is_missing_value(value):
            objects[index] = None
        elif not isinstance(value, numbers.Real | np.bool_):
            found = f"{type(value).__name__} (dtype {values.dtype})"
            raise ExpressionError(f"expected numbers or text, found {found}; convert it first")
    if has_text:
        return objects
    try:
        return objects.astype(np.float64)
    except OverflowError as error:
        raise ExpressionError("expected numbers that float64 can hold") from error


def is_missing_value(value: Any) -> bool:
    """Whether a value is None, a NaN of any float type, NaT or pd.NA."""
    if value is None:
        return True
    try:
        return np.ndim(value) == 0 and bool(value != value)  # noqa: PLR0124 - only NaN does
    except TypeError:  # pd.NA refuses to be true or false
        return True
