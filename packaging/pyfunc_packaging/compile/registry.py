"""Which function compiles which estimator, and what it is given."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile.table import Block, Table
from pyfunc_packaging.errors import NotCompilable

#: ONNX files may not be larger than protobuf's 2 GiB; a bundle should stay far below.
MAX_BYTES = 500 * 2**20

#: ``function(estimator, table, context)``: the table that a method of the estimator returns.
Compiler = Callable[[Any, Table, "Context"], Table]

Result = TypeVar("Result")

_COMPILERS: dict[tuple[type | str, str], Compiler] = {}


def register_compiler(
    estimator_class: type | str, function: Compiler, *, method: str | None = None
) -> None:
    """Say how estimators of a class are compiled.

    Parameters
    ----------
    estimator_class : type or str
        The class itself; its subclasses, which may compute otherwise, are not meant. A class of a
        package that need not be installed by its name: ``"package.module.Class"``, with the
        module that defines it.
    function : callable
        ``function(estimator, table, context)`` with the fitted estimator and a :class:`Table`
        of what the method is called with; returns a :class:`Table` of what it returns. It
        raises :class:`NotCompilable` for what it does not cover.
    method : str, optional
        The method that it compiles: ``"transform"``, ``"predict"``, ``"predict_proba"`` or
        ``"decision_function"``. Default: ``"transform"`` where the class has it, else
        ``"predict"``, also for a class given by name.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator, TransformerMixin
    >>> class Halve(TransformerMixin, BaseEstimator):
    ...     def transform(self, X):
    ...         return X / 2
    >>> def compile_halve(estimator, table, context):
    ...     half = op.mul(table.x, op.const(np.float64(0.5)))
    ...     return Table.of(half, table.width, nan=table.nan, inf=table.inf)
    >>> register_compiler(Halve, compile_halve)
    """
    if method is None:
        method = "transform" if hasattr(estimator_class, "transform") else "predict"
    _COMPILERS[estimator_class, method] = function


def shared(
    function: Callable[[Any, Table, Context], Result],
) -> Callable[[Any, Table, Context], Result]:
    """Let what several methods of an estimator begin with be in a graph once.

    Labels and probabilities of a classifier, for instance, are both computed from scores.

    Parameters
    ----------
    function : callable
        ``function(estimator, table, context)``, with any result.

    Returns
    -------
    callable
        The same, which returns its first result when it is called with the same three again.

    Examples
    --------
    >>> from spox import Tensor, argument
    >>> table = Table((Block(argument(Tensor(np.float64, ("n", 1))), 1),))
    >>> @shared
    ... def scores(model, table, context):
    ...     print("compiled")
    ...     return table.x
    >>> model, context = object(), Context()
    >>> scores(model, table, context) is scores(model, table, context)
    compiled
    True
    """

    @functools.wraps(function)
    def compile_once(estimator: Any, table: Table, context: Context) -> Result:
        return context.once(function, estimator, table)

    return compile_once


def registered() -> list[tuple[str, str]]:
    """Names of every class and method that can be compiled: ``("module.Class", "predict")``."""
    return sorted((_name(key), method) for key, method in _COMPILERS)


def _name(estimator_class: type | str) -> str:
    if isinstance(estimator_class, str):
        return estimator_class
    return f"{estimator_class.__module__}.{estimator_class.__qualname__}"


@dataclass
class Context:
    """What compile functions share within one model.

    Attributes
    ----------
    refusals : list of Var
        Conditions under any of which, for any element, the reference raises an error.
    fills : dict of Var to tuple of Var and str
        Texts in which missing ones were replaced: the texts before, and the replacement.
    large : list of mapping of str to ndarray
        Attributes that `pyfunc_packaging.compile.trees.fill` puts into the finished graph.
    """

    refusals: list[Var] = field(default_factory=list)
    fills: dict[Var, tuple[Var, str]] = field(default_factory=dict)
    large: list[Mapping[str, npt.NDArray[Any]]] = field(default_factory=list)
    _results: dict[tuple[Any, int, Table], tuple[Any, Any]] = field(default_factory=dict)
    _bytes: int = 0
    _path: list[str] = field(default_factory=list)

    def compile(
        self, estimator: Any, table: Table, *, method: str = "transform", step: str | None = None
    ) -> Table:
        """Compile a method of an estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted.
        table : Table
            What the method is called with.
        method : str
        step : str, optional
            Name of the estimator within the one that holds it, for messages.

        Returns
        -------
        Table

        Raises
        ------
        NotCompilable
            Naming the step and the reason.
        """
        with self._within(step or type(estimator).__name__):
            kind = _name(type(estimator))
            function = _COMPILERS.get((type(estimator), method)) or _COMPILERS.get((kind, method))
            if function is None:
                raise self.error(f"there is no compiler for {kind}.{method}")
            try:
                return self.once(function, estimator, table)
            except ValueError as error:  # of Table: text where numbers are expected
                if isinstance(error, NotCompilable):
                    raise
                raise self.error(str(error)) from error

    def once(
        self, function: Callable[[Any, Table, Context], Result], estimator: Any, table: Table
    ) -> Result:
        """What a function makes of an estimator and a table, made only the first time."""
        key = (function, id(estimator), table)
        if key not in self._results:
            # with the estimator, so that no other one takes its place in memory
            self._results[key] = (estimator, function(estimator, table, self))
        result: Result = self._results[key][1]
        return result

    @contextmanager
    def _within(self, step: str) -> Iterator[None]:
        self._path.append(step)
        try:
            yield
        finally:
            self._path.pop()

    @property
    def step(self) -> str:
        """Where we are: names of steps, as in ``columns → numeric → impute``."""
        return " → ".join(self._path)

    def error(self, reason: str) -> NotCompilable:
        """The error for the step that is being compiled; for a compile function to raise."""
        return NotCompilable(self.step, reason)

    def reserve(self, size: int) -> None:
        """Count bytes that a large part of the graph takes, before it is made.

        Raises
        ------
        NotCompilable
            Beyond `MAX_BYTES`.
        """
        self._bytes += size
        if self._bytes > MAX_BYTES:
            raise self.error(
                f"the graph would have more than {MAX_BYTES // 2**20} MiB; train fewer or smaller"
                f" trees"
            )

    def refuse(self, condition: Var) -> None:
        """Let the graph refuse its input where any element of a condition holds.

        For inputs on which the reference raises an error; the graph would otherwise answer.
        """
        self.refusals.append(condition)

    def refuse_missing(self, table: Table) -> None:
        """Refuse missing values, as scikit-learn's validation does."""
        table.check_inputs()
        if any(block.nan and block.kind == "float" for block in table.blocks):
            self.refuse(op.isnan(_numbers(table).x))

    def refuse_infinite(self, table: Table) -> Table:
        """Refuse infinite values, as scikit-learn's validation does; the table without them."""
        table.check_inputs()
        if not any(block.inf and block.kind == "float" for block in table.blocks):
            return table
        self.refuse(op.isinf(_numbers(table).x))
        return table.finite()

    def finite(self, table: Table, *, allow_missing: bool = False) -> Block:
        """The table as float64, refused where it is not finite: `check_array`'s default."""
        if not allow_missing:
            self.refuse_missing(table)
        self.refuse_infinite(table)
        floats = table.floats
        return Block(floats.var, floats.width, nan=allow_missing and floats.nan, inf=False)


def _numbers(table: Table) -> Table:
    """The columns of floats: the table itself where it can be, whose tensor is needed anyway."""
    if all(block.kind == "float" for block in table.blocks):
        return table
    return Table(tuple(block for block in table.blocks if block.kind == "float"))


def any_of(condition: Var) -> Var:
    """Whether any element of a bool tensor holds: a scalar."""
    return op.cast(op.reduce_max(op.cast(condition, to=np.int32), keepdims=False), to=np.bool_)
