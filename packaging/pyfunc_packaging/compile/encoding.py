"""Compile encoders of categories, by asking each what it makes of every category.

Such an encoder treats every column by itself, and a column's result depends on nothing but which
category a cell holds, whether it holds one that was never seen, or none. So a table of its answers
is all there is to know, whatever its parameters (``drop``, ``min_frequency``, ``handle_unknown``).
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import spox.opset.ai.onnx.ml.v5 as ml
import spox.opset.ai.onnx.v21 as op
from scipy import sparse
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.composition import output_names
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Block, Table, is_missing
from pyfunc_packaging.expressions import is_missing_value
from pyfunc_packaging.session import MISSING_TEXT


@dataclass(frozen=True)
class Answers:
    """What an encoder makes of one column.

    Parameters
    ----------
    categories : list
        Known values, without the missing one.
    rows : ndarray of shape (len(categories) + 2, k)
        One row a category, then that of an unseen value and that of a missing value. Of one-hot
        rows, which are as long as there are categories, only the place of the one: k is 1, and
        -1 means that there is none.
    refused : ndarray of bool, shape (len(categories) + 2,)
        Where the encoder raises an error instead.
    """

    categories: list[Any]
    rows: npt.NDArray[Any]
    refused: npt.NDArray[np.bool_]


def ask(encoder: Any, position: int, block: Block, *, width: int) -> Answers:
    """Let an encoder transform every category of a column, an unseen and a missing value.

    Parameters
    ----------
    encoder : OneHotEncoder, OrdinalEncoder or TargetEncoder
        Fitted.
    position : int
        Of the column among those that it was fitted on.
    block : Block
        The column in the graph.
    width : int
        Number of columns that it makes of this one; they stand together.
    """
    known = list(encoder.categories_[position])
    categories = [value for value in known if not is_missing_value(value)]
    absent = next((value for value in known if is_missing_value(value)), np.nan)
    candidates = [*categories, _unseen(categories, block)]
    parts = _transform(encoder, position, candidates, block, width)
    parts += _transform(encoder, position, [absent], block, width)
    refused = np.array([part is None for part in parts])
    nothing = np.array([-1]) if isinstance(encoder, OneHotEncoder) else np.zeros(width)
    rows = np.array([nothing if part is None else part for part in parts])
    return Answers(categories, rows, refused)


def _transform(
    encoder: Any, position: int, values: Sequence[Any], block: Block, width: int
) -> list[npt.NDArray[Any] | None]:
    """Rows that the encoder makes of values in one column; None where it refuses one."""
    frames = [encoder.categories_[column][:1] for column in range(len(encoder.categories_))]
    data: dict[Any, Any] = {}
    names = getattr(encoder, "feature_names_in_", range(len(frames)))
    for column, name in enumerate(names):
        cells = list(values) if column == position else [frames[column][0]] * len(values)
        objects = encoder.categories_[column].dtype.kind in "OU"
        data[name] = pd.Series(cells, dtype=object if objects else None)
    frame = pd.DataFrame(data)
    rows = frame if hasattr(encoder, "feature_names_in_") else frame.to_numpy()
    start = _start(encoder, position, width)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unseen category is what we ask about
            result = encoder.transform(rows)
    except ValueError:
        if len(values) == 1:
            return [None]
        return [
            part
            for value in values
            for part in _transform(encoder, position, [value], block, width)
        ]
    part = result[:, start : start + width]
    if sparse.issparse(part):
        return list(_places(part).reshape(-1, 1))
    return list(np.asarray(part, dtype=np.float64))


def _places(rows: Any) -> npt.NDArray[np.int64]:
    """Where each one-hot row has its one; -1 in rows without any."""
    cells = rows.tocoo()
    places = np.full(rows.shape[0], -1, dtype=np.int64)
    places[cells.row[cells.data != 0]] = cells.col[cells.data != 0]
    return places


def _start(encoder: Any, position: int, width: int) -> int:
    """Where the columns that belong to a column begin."""
    if isinstance(encoder, OneHotEncoder):
        return int(sum(encoder._n_features_outs[:position]))
    return position * width


def _unseen(categories: Sequence[Any], block: Block) -> Any:
    """A value of the column's kind that is no category."""
    if block.kind == "text":
        return "\ufdd1".join(["", *map(str, categories), ""])
    known = set(categories)
    return next(number for number in itertools.count() if number not in known)


def plain(encoder: Any) -> Any:
    """A copy of an encoder that returns arrays, sparse ones where it can."""
    result = copy.copy(encoder)
    result.__dict__["_sklearn_output_config"] = {}
    result.set_output(transform="default")
    if isinstance(result, OneHotEncoder):
        result.sparse_output = True
    return result


def position_of(block: Block, categories: Sequence[Any], context: Context) -> Var:
    """Which category each cell of a column holds.

    Parameters
    ----------
    block : Block of one column
    categories : sequence of m values
    context : Context

    Returns
    -------
    Var of int64, shape (n, 1)
        0 to m - 1; m for an unseen value, m + 1 for a missing one.
    """
    count = len(categories)
    if block.kind == "text":
        if not all(isinstance(category, str) for category in categories):
            raise context.error("expected categories of text, found others")
        texts, missing = block.var, count + 1
        if texts in context.fills:  # the encoder finds the replacement by itself
            texts, fill = context.fills[texts]
            missing = list(categories).index(fill) if fill in categories else count
        return ml.label_encoder(
            texts,
            keys_strings=[*categories, MISSING_TEXT],
            values_int64s=[*range(count), missing],
            default_int64=count,
        )
    if any(isinstance(category, str) for category in categories):
        raise context.error("expected categories of numbers, found text")
    if block.kind == "int" and all(float(category).is_integer() for category in categories):
        if not count:
            return op.mul(block.var, ints(0))
        return ml.label_encoder(
            block.var,
            keys_int64s=[int(category) for category in categories],
            values_int64s=list(range(count)),
            default_int64=count,
        )
    floats = block.to_float()
    # after the categories a column that always equals itself, unless it is NaN
    unseen = op.expand(op.const(np.array([[True]])), op.shape(floats.var))
    equal = op.equal(floats.var, const(np.array(categories, dtype=np.float64).reshape(1, -1)))
    hits = op.concat([equal, unseen], axis=1) if count else unseen
    found = op.arg_max(op.cast(hits, to=np.int32), axis=1, keepdims=True)
    if not floats.nan:
        return found
    return op.where(is_missing(floats), ints(count + 1), found)


def _lookup(encoder: Any, table: Table, context: Context, *, width: int) -> Table:
    """Columns whose cells are looked up in the encoder's own answers."""
    context.refuse_infinite(table)
    asked = plain(encoder)
    parts = []
    for number, block in enumerate(table.columns()):
        answers = ask(asked, number, block, width=width)
        found = position_of(block, answers.categories, context)
        _refuse(found, answers, block, context)
        rows = op.gather(const(answers.rows), op.squeeze(found, ints([1])), axis=0)
        nan = bool(np.isnan(answers.rows).any())
        parts.append(Table((Block(rows, width, nan=nan, inf=False),)))
    return Table.beside(parts, output_names(encoder, table))


def _refuse(found: Var, answers: Answers, block: Block, context: Context) -> None:
    """Refuse what the encoder raised an error for."""
    possible = answers.refused.copy()
    possible[-1] &= block.nan
    if possible.any():
        context.refuse(op.gather(op.const(possible), found, axis=0))


def _one_hot(encoder: OneHotEncoder, table: Table, context: Context) -> Table:
    context.refuse_infinite(table)
    asked = plain(encoder)
    parts = []
    for number, block in enumerate(table.columns()):
        width = int(encoder._n_features_outs[number])
        answers = ask(asked, number, block, width=width)
        found = position_of(block, answers.categories, context)
        _refuse(found, answers, block, context)
        if width == 0:
            continue
        hot = answers.rows[:, 0]
        if not np.array_equal(hot[: len(hot) - 2], np.arange(len(hot) - 2)) or hot[-1] != -1:
            found = op.gather(ints(hot.tolist()), found, axis=0)
        flags = op.equal(found, ints([list(range(width))]))
        parts.append(Table((Block(op.cast(flags, to=np.float64), width, nan=False, inf=False),)))
    if not parts:
        raise context.error("no column is left")
    return Table.beside(parts, output_names(encoder, table))


def _ordinal(encoder: OrdinalEncoder, table: Table, context: Context) -> Table:
    return _lookup(encoder, table, context, width=1)


def _target(encoder: TargetEncoder, table: Table, context: Context) -> Table:
    classes = len(encoder.classes_) if encoder.target_type_ == "multiclass" else 1
    return _lookup(encoder, table, context, width=classes)


register_compiler(OneHotEncoder, _one_hot)
register_compiler(OrdinalEncoder, _ordinal)
register_compiler(TargetEncoder, _target)
