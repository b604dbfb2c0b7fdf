"""Recorded columns of a table: pandas' Series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import spox.opset.ai.onnx.v21 as op

from pyfunc_packaging.compile.arithmetic import texts
from pyfunc_packaging.compile.elementwise import Unsupported, cast, choose, constant
from pyfunc_packaging.compile.gappy import GappyInts, both, filled, is_whole
from pyfunc_packaging.compile.recording import Traced, compute, sampled
from pyfunc_packaging.compile.recording_columns import as_floats, each, is_integral, overwrite
from pyfunc_packaging.compile.recording_functions import (
    astype,
    check_texts,
    member,
    rounded,
    settled,
)
from pyfunc_packaging.compile.recording_text import TracedText
from pyfunc_packaging.compile.registry import any_of
from pyfunc_packaging.compile.table import Block, Kind, Table, is_missing
from pyfunc_packaging.session import MISSING_TEXT

#: pandas' methods for operators, and numpy's names of them.
_METHODS = {
    "add": "add",
    "sub": "subtract",
    "subtract": "subtract",
    "mul": "multiply",
    "multiply": "multiply",
    "div": "divide",
    "divide": "divide",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "radd": "add",
    "rsub": "subtract",
    "rmul": "multiply",
    "rdiv": "divide",
    "rtruediv": "divide",
    "rfloordiv": "floor_divide",
    "rmod": "remainder",
    "rpow": "power",
}


def operator_method(name: str) -> Callable[[Any, Any], Any]:
    """A method such as ``Series.add``, without its options."""

    def method(self: Traced, other: Any) -> Any:
        operands = (other, self) if name.startswith("r") else (self, other)
        if name.startswith("r"):
            return self._apply(_METHODS[name], lambda a, b: getattr(b, name)(a), *operands)
        return self._apply(_METHODS[name], lambda a, b: getattr(a, name)(b), *operands)

    method.__name__ = name
    return method


class TracedColumns(Traced):
    """What recorded Series and DataFrames have in common."""

    def pow(self, other: Any) -> Any:
        """``self ** other``."""
        return self**other

    def abs(self) -> Any:
        """Absolute values."""
        return abs(self)

    def isna(self) -> Any:
        """Where a value is missing."""
        sample = sampled(lambda x: x.isna(), self)

        def make(kind: Kind, block: Block) -> Block:
            return Block(is_missing(block), 1, "bool", nan=False, inf=False)

        return each(self, sample, make, self)

    isnull = isna

    def notna(self) -> Any:
        """Where a value is there."""
        return ~self.isna()

    notnull = notna

    def copy(self, deep: bool = True) -> Any:
        """A copy."""
        if not deep:
            self._refuse("a copy that shares its data")
        return self._wrap(self._table, self._sample.copy())

    def astype(self, dtype: Any) -> Any:
        """Another type of values: float64, int64, bool; text stays text."""
        if isinstance(dtype, dict):
            result = self.copy()
            for name, one in dtype.items():
                result[name] = self[name].astype(one)
            return result
        return astype(self, dtype)

    def round(self, decimals: int = 0) -> Any:
        """Rounding, half to even."""
        return rounded(self, decimals)

    def to_numpy(self, dtype: Any = None) -> Any:
        """The values as an array of their common type."""
        sample = sampled(lambda x: x.to_numpy(), self)
        kinds = {block.kind for block in self._table.blocks}
        with self._explained():
            self._table.check_inputs()
            kind = self._kinds(sample)[0]
            blocks = tuple(
                block
                if kinds == {kind}
                else Block(cast(block, kind), block.width, kind, nan=block.nan, inf=block.inf)
                for block in self._table.blocks
            )
            result = self._wrap(settled(Table(blocks)), sample)
        return result if dtype is None else result.astype(dtype)

    @property
    def values(self) -> Any:
        """The values as an array."""
        if not isinstance(sampled(lambda x: x.values, self), np.ndarray):
            self._refuse(".values of a pandas type; use .to_numpy()")
        return self.to_numpy()

    def isin(self, values: Any) -> Any:
        """Whether each value is one of some."""
        if isinstance(values, Traced | dict) or not np.iterable(values):
            self._refuse("isin() of anything but a list of values")
        return member(self, list(values))

    def pipe(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a function with this."""
        return function(self, *args, **options)

    def fillna(self, value: Any) -> Any:
        """Something in place of missing values."""
        if isinstance(value, dict):
            result = self.copy()
            for name in value:
                if name in list(self._sample.columns):
                    result[name] = self[name].fillna(value[name])
            return result
        self._operand(value, (self, value))
        sample = sampled(lambda x, other: x.fillna(other), self, value)

        def make(kind: Kind, block: Block, other: Block) -> Block:
            if block.kind not in ("float", "text"):
                return block
            if (block.kind == "text") != (other.kind == "text"):
                if not block.nan:
                    return block
                raise Unsupported("fillna() with another type of value")
            result = choose(is_missing(block), other, block, kind)
            if isinstance(block, GappyInts) and not isinstance(value, Traced):
                return filled(block, result.var, nan=other.nan)
            return Block(result.var, 1, kind, nan=other.nan, inf=result.inf)

        return each(self, sample, make, self, value)

    def where(self, cond: Any, other: Any = np.nan) -> Any:
        """The values where a condition holds, something else where it does not."""
        return self._where(cond, other, "where")

    def mask(self, cond: Any, other: Any = np.nan) -> Any:
        """Something else where a condition holds."""
        return self._where(cond, other, "mask")

    def _where(self, cond: Any, other: Any, name: str) -> Any:
        if callable(cond):
            cond = cond(self)
        if not isinstance(cond, Traced):
            self._refuse(f"{name}() with a constant condition")
        for operand in (cond, other):
            self._operand(operand, (self, cond, other))
        check_texts(self, (other,))
        sample = sampled(lambda x, c, o: getattr(x, name)(c, o), self, cond, other)
        if not isinstance(other, Traced):
            sample = as_floats(sample, [other])

        def make(kind: Kind, block: Block, condition: Block, *others: Block) -> Block:
            if others:
                value = others[0]
                if kind == "int" and value.kind == "float":
                    raise Unsupported(f"{name}() of integers with floats in their place")
            elif block.kind == "text" and pd.isna(other):
                value = Block(texts(MISSING_TEXT), 1, "text")
            else:
                value = constant(other)
            if (value.kind == "bool") != (block.kind == "bool"):
                raise Unsupported(f"{name}() with booleans among other values is not compiled")
            if others or not is_whole(block):
                pair = (value, block) if name == "mask" else (block, value)
                return choose(condition.var, *pair, kind)
            cells = condition.var if name == "mask" else op.not_(condition.var)
            return overwrite(block, cells, other, kind, value)

        others = [other] if isinstance(other, Traced) else []
        return each(self, sample, make, self, cond, *others)

    def clip(self, lower: Any = None, upper: Any = None) -> Any:
        """Limits; a missing value stays missing."""
        if any(isinstance(limit, Traced) or np.ndim(limit) for limit in (lower, upper)):
            self._refuse("clip() with limits that are not constant")
        lower, upper = (
            None if limit is None or pd.isna(limit) else limit for limit in (lower, upper)
        )
        if lower is not None and upper is not None:
            lower, upper = min(lower, upper), max(lower, upper)  # as pandas does
        limits = [limit for limit in (lower, upper) if limit is not None]
        sample = as_floats(sampled(lambda x: x.clip(lower, upper), self), limits)

        def make(kind: Kind, block: Block) -> Block:
            for limit, comparison in ((lower, op.less), (upper, op.greater)):
                if limit is not None and kind != "bool":
                    bound = constant(limit)
                    common: Kind = "int" if bound.kind == block.kind == "int" else "float"
                    beyond = comparison(cast(block, common), cast(bound, common))
                    block = overwrite(block, beyond, limit, kind, bound)
            return block

        return each(self, sample, make, self)


class TracedSeries(TracedColumns):
    """A recorded column."""

    def __getitem__(self, key: Any) -> Any:
        self._refuse("a selection of rows")

    def __setitem__(self, key: Any, value: Any) -> None:
        """Other values where a condition holds."""
        if not isinstance(key, TracedSeries) or key._sample.dtype != bool:
            self._refuse("an assignment to some rows")
        changed = self._assigned(key, value)
        self._table, self._sample = changed._table, changed._sample

    def _assigned(self, cells: Any, value: Any) -> Any:
        """The column with other values in some cells, which must not change its type."""
        changed = self.mask(cells, value)
        kept = changed._sample.dtype == self._sample.dtype
        gappy = isinstance(self._table.blocks[0], GappyInts)
        if not kept or (gappy and not is_integral(value)):
            self._refuse("an assignment that changes the type of the values")
        return changed

    @property
    def name(self) -> Any:
        """Name of the column."""
        return self._sample.name

    @property
    def dtype(self) -> Any:
        """Pandas dtype."""
        if isinstance(self._table.blocks[0], GappyInts):
            self._refuse(".dtype depends on the batch; use .astype(float) before")
        origin = self._table.blocks[0].origin
        if origin is not None and origin.nullable and origin.type not in ("double", "string"):
            self._refuse(".dtype depends on whether a value is missing")
        return self._sample.dtype

    @property
    def str(self) -> Any:
        """Methods of text."""
        return TracedText(self)

    def rename(self, index: Any) -> Any:
        """Another name."""
        if not isinstance(index, str):
            self._refuse("rename() with anything but a text")
        return self._wrap(self._table, self._sample.rename(index))

    def to_frame(self, name: Any = None) -> Any:
        """A table of one column."""
        options = {} if name is None else {"name": name}
        return self._wrap(self._table, self._sample.to_frame(**options))

    def apply(self, func: Any) -> Any:
        """Numpy's own functions, which take whole columns."""
        if not isinstance(func, np.ufunc):
            self._refuse("apply() calls a Python function for each value")
        return func(self)

    transform = apply

    def between(self, left: Any, right: Any, inclusive: Any = "both") -> Any:
        """Whether each value lies between two others."""
        if inclusive not in ("both", "neither", "left", "right"):
            self._refuse(f"between() with inclusive={inclusive!r}")
        low = self >= left if inclusive in ("both", "left") else self > left
        high = self <= right if inclusive in ("both", "right") else self < right
        return low & high

    def map(self, func: Any) -> Any:
        """A dict's value for each value, missing where it has none."""
        if isinstance(func, np.ufunc):
            return func(self)
        if type(func) is not dict or not func:
            self._refuse("map() with anything but a dict")
        return self._looked_up(func, sampled(lambda x: x.map(func), self), None)

    def replace(self, to_replace: Any, value: Any = None) -> Any:
        """Other values for some."""
        if type(to_replace) is not dict:
            if value is None or np.ndim(to_replace) or np.ndim(value):
                self._refuse("replace() with anything but a dict or two values")
            to_replace = {to_replace: value}
        check_texts(self, (*to_replace, *to_replace.values()))
        return self._looked_up(to_replace, sampled(lambda x: x.replace(to_replace), self), self)

    def _looked_up(self, mapping: dict[Any, Any], sample: Any, rest: Any) -> Any:
        keys, values = list(mapping), list(mapping.values())
        if any(np.ndim(item) or isinstance(item, Traced) or pd.isna(item) for item in keys):
            self._refuse("a missing value as a key")

        def make(kind: Kind, block: Block) -> Block:
            options = [constant(value) for value in values]
            if any(option.kind == "bool" for option in options) and kind != "bool":
                raise Unsupported("booleans among the values to map to are not compiled")
            allowed = ("int", "float") if kind == "float" else (kind,)
            if rest is not None and any(option.kind not in allowed for option in options):
                raise Unsupported("replace() with another type of value")
            if rest is not None:
                result = block
            elif kind == "text":
                result = Block(texts(MISSING_TEXT), 1, "text")
            else:
                # what has no key is missing, and then the numbers are floats
                kind, result = "float", constant(np.nan)
            whole = constant(0) if rest is None and _all_ints(options) else None
            for key, value, option in zip(keys, values, options, strict=True):
                other = constant(key)
                if (other.kind == "text") != (block.kind == "text"):
                    raise Unsupported("text among numbers, or numbers among text, as keys")
                same = compute("equal", [Table((block,)), key], ["bool"]).blocks[0].var
                if rest is None:
                    result = choose(same, option, result, kind)
                else:
                    result = overwrite(result, same, value, kind, option)
                whole = None if whole is None else choose(same, option, whole, "int")
            if whole is not None:  # pandas makes floats of them where a value has no key
                return both(result.var, whole.var, any_of(op.isnan(result.var)))
            return result

        # as with a value that has no key among the rows
        sample = as_floats(sample, [np.nan] if rest is None else values)
        return each(self, sample, make, self, certain=rest is None)

    def equals(self, other: Any) -> Any:
        """Not recorded: one answer for all rows."""
        self._refuse("equals() is one answer for all rows")


def _all_ints(blocks: Sequence[Block]) -> bool:
    return all(block.kind == "int" for block in blocks)


for _name in _METHODS:
    setattr(TracedColumns, _name, operator_method(_name))
Traced.classes[pd.Series] = TracedSeries
