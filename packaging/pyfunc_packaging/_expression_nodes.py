"""The tree that an expression is parsed into, its vocabulary, and the error about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

from pyfunc_packaging.errors import PyFuncError

MAX_DEPTH = 100
"""Greatest height of an expression's tree: all that walks or pickles one may recurse."""

FUNCTIONS: Mapping[str, int] = {
    **dict.fromkeys(["abs", "exp", "expm1", "log", "log1p", "sqrt"], 1),
    "clip": 3,
    "isnan": 1,
    "maximum": 2,
    "minimum": 2,
    "where": 3,
}
"""Number of arguments of each function."""

COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


class ExpressionError(PyFuncError, ValueError):
    """An expression cannot be read, or does not fit the columns it is given."""

    # Where it is public: tracebacks show this path, and people import from what they see.
    __module__ = "pyfunc_packaging.expressions"


@dataclass(frozen=True, slots=True)
class Number:
    """A number literal."""

    value: float


@dataclass(frozen=True, slots=True)
class String:
    """A text literal; it stands only beside a `Column` under ``==`` or ``!=``."""

    value: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and where its name stands in the text (for error messages)."""

    name: str
    position: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """``-`` or ``not`` before an operand."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """An arithmetic operator, a comparison, ``and`` or ``or`` between two operands."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Call:
    """One of `FUNCTIONS` with its arguments."""

    function: str
    arguments: tuple[Node, ...]


Node: TypeAlias = Number | String | Column | Unary | Binary | Call


def walk_columns(root: Node) -> Iterator[Column]:
    """Yield the columns under a node in the order of the text."""
    waiting = [root]
    while waiting:
        match waiting.pop():
            case Column() as column:
                yield column
            case node:
                waiting.extend(reversed(children(node)))


def children(node: Node) -> tuple[Node, ...]:
    """Nodes right under a node, in the order of the text."""
    match node:
        case Unary(_, operand):
            return (operand,)
        case Binary(_, left, right):
            return (left, right)
        case Call(_, arguments):
            return arguments
        case _:
            return ()


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Message for an unknown name: what it may have meant, and what there is."""
    names = sorted(str(one) for one in known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    shown = ", ".join(map(repr, names[:30])) or "none"
    more = f" and {len(names) - 30} more" if len(names) > 30 else ""
    return f"unknown {what} {name!r}; {hint}There are: {shown}{more}"


def fail(text: str, position: int, message: str, cause: ExpressionError | None = None) -> NoReturn:
    """Raise the error with the line of the expression and a caret under the place."""
    start = text.rfind("\n", 0, position) + 1
    line = text[start:].partition("\n")[0]
    column = position - start
    # A very long line is cut to the neighbourhood of the caret.
    first = max(0, column - 60)
    shown = "".join(c if c.isprintable() else " " for c in line[first : column + 60])
    raise ExpressionError(f"{message}\n    {shown}\n    {' ' * (column - first)}^") from cause
