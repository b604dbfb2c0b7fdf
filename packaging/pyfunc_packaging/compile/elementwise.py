"""Elementwise functions under numpy's names, as ONNX operators: what tracing emits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile import arithmetic as ar
from pyfunc_packaging.compile import logarithms, trigonometry
from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.gappy import GappyInts, both, is_whole, tainted
from pyfunc_packaging.compile.registry import any_of
from pyfunc_packaging.compile.table import DTYPES, Block, Kind, is_missing
from pyfunc_packaging.session import MISSING_TEXT

Unary = Callable[[Var], Var]
Binary = Callable[[Var, Var], Var]


class Unsupported(Exception):
    """An operation has no exact counterpart among the operators."""


def cast(block: Block, kind: Kind) -> Var:
    """Cells of a block as another kind; numbers to truths as ``astype(bool)`` does."""
    if block.kind == kind:
        return block.var
    if "text" in (block.kind, kind):
        raise Unsupported(f"{block.kind} does not become {kind}")
    if kind == "bool":
        zero = op.const(np.zeros((), DTYPES[block.kind]))
        return op.not_(op.equal(block.var, zero))
    return op.cast(block.var, to=DTYPES[kind])


def constant(value: Any) -> Block:
    """A constant of numpy: a scalar, or a row of shape (1, k)."""
    array = np.asarray(value)
    if array.dtype.kind == "U":
        array = np.asarray(value, dtype=object)
    if array.ndim > 1:
        raise Unsupported("a constant array of two dimensions is not recorded")
    if array.dtype == object and all(isinstance(text, str) for text in array.ravel()):
        var = ar.texts(array.reshape((1, -1) if array.ndim else ()))
        return Block(var, array.size, "text", nan=False, inf=False)
    kinds: dict[str, Kind] = {"b": "bool", "i": "int", "u": "int", "f": "float"}
    if array.dtype.kind not in kinds:
        raise Unsupported(f"a constant of type {type(value).__name__} is not recorded")
    kind = kinds[array.dtype.kind]
    if kind == "int" and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise Unsupported("an integer constant beyond 64 bits is not recorded")
    cells = array.astype(DTYPES[kind]).reshape((1, -1) if array.ndim else ())
    return Block(
        op.const(cells),
        array.shape[0] if array.ndim else 1,
        kind,
        nan=kind == "float" and bool(np.isnan(cells).any()),
        inf=kind == "float" and bool(np.isinf(cells).any()),
    )


def choose(condition: Var, block: Block, other: Block, kind: Kind) -> Block:
    """``np.where`` on blocks; the condition is bool."""
    width = max(block.width, other.width)
    nan, inf = block.nan or other.nan, block.inf or other.inf
    left, right = cast(block, kind), cast(other, kind)
    if kind != "bool":
        return Block(op.where(condition, left, right), width, kind, nan=nan, inf=inf)
    # there is no Where for booleans in ONNX Runtime
    var = op.or_(op.and_(condition, left), op.and_(op.not_(condition), right))
    return Block(var, width, kind, nan=False, inf=False)


def emit(name: str, blocks: Sequence[Block], values: Sequence[Any], kind: Kind) -> Block:
    """One of numpy's elementwise functions.

    Parameters
    ----------
    name : str
        numpy's name of the function, such as ``"add"``.
    blocks : sequence of Block
        Operands; they broadcast.
    values : sequence
        The operands' values where they are constant scalars, else None.
    kind : str
        What numpy (or pandas) returns.

    Returns
    -------
    Block

    Raises
    ------
    Unsupported
        If it cannot be done exactly.
    """
    width = max(block.width for block in blocks)
    if kind == "float" and all(is_whole(block) for block in blocks):
        if name not in ALWAYS_FLOAT:
            return _by_batch(name, blocks, values)
        if name != "divide" and any(isinstance(b, GappyInts) and b.narrow for b in blocks):
            raise Unsupported(f"{name} of {BY_BATCH}")  # of int8, numpy makes float16
    if any(block.kind == "text" for block in blocks):
        var = _text(name, blocks)
    elif name in _COMPARISONS and kind == "bool":
        var = _COMPARISONS[name](*_alike(blocks))
    elif name in _TESTS and kind == "bool":
        var = _test(name, blocks[0])
    elif name in _LOGIC and kind == "bool":
        if name.startswith("bitwise") and any(block.kind != "bool" for block in blocks):
            raise Unsupported(f"{name} of bool and numbers is not compiled")
        var = _LOGIC[name](*(cast(block, "bool") for block in blocks))
    elif kind == "float":
        var = _float(name, blocks, values)
    elif kind == "int":
        var = _int(name, blocks, values)
    elif kind == "bool" and name in _TRUTHS and all(block.kind == "bool" for block in blocks):
        var = _TRUTHS[name](*(block.var for block in blocks))
    else:
        raise Unsupported(f"{name} is not compiled for these types")
    plain = name in _PROMISES
    return Block(
        var,
        width,
        kind,
        nan=kind == "text" or (kind == "float" and not (plain and not blocks[0].nan)),
        inf=kind == "float" and not (plain and not blocks[0].inf),
    )


def _by_batch(name: str, blocks: Sequence[Block], values: Sequence[Any]) -> Block:
    """A function that returns integers of integers, where pandas has floats in some batches."""
    if any(isinstance(block, GappyInts) and block.whole is None for block in blocks):
        raise Unsupported(f"{name} of {BY_BATCH}")
    wholes = [
        Block(block.whole, 1, "int")
        if isinstance(block, GappyInts) and block.whole is not None
        else block
        for block in blocks
    ]
    conditions = [b.gaps for b in blocks if isinstance(b, GappyInts) and b.gaps is not None]
    gaps: Var | None = None
    for condition in conditions:
        gaps = condition if gaps is None or gaps is condition else op.or_(gaps, condition)
    if name in ("floor_divide", "remainder"):
        return _divided(name, blocks, wholes, gaps)
    if gaps is None:  # nothing else is known to make floats of integers
        return tainted(Block(_float(name, blocks, values), 1))
    whole = _int(name, wholes, values)
    if name in ("floor", "ceil", "trunc", "positive", "round"):
        return both(blocks[0].var, whole, gaps)
    return both(_float(name, blocks, values), whole, gaps)


def _divided(
    name: str, blocks: Sequence[Block], wholes: Sequence[Block], gaps: Var | None
) -> Block:
    """Pandas divides as integers, and only then makes floats of all where a divisor is zero."""
    a, b = (cast(block, "int") for block in wholes)
    whole = _int_division(name, a, b)
    zero = op.equal(b, ar.ints(0))
    operands = [cast(block, "float") for block in blocks]
    endless = op.div(*operands) if name == "floor_divide" else const(np.nan)
    floats = op.where(zero, endless, op.cast(whole, to=np.float64))
    by_zero = any_of(zero)
    if gaps is not None:
        floats = op.where(gaps, _FLOATS[name](*operands), floats)
        by_zero = op.or_(gaps, by_zero)
    return GappyInts(floats, 1, whole=whole, gaps=by_zero)


def _alike(blocks: Sequence[Block]) -> list[Var]:
    """Operands of a comparison in their common type."""
    kinds = {block.kind for block in blocks}
    kind: Kind = "float" if "float" in kinds else "int" if kinds != {"bool"} else "bool"
    if kind == "bool":
        kind = "int"
    return [cast(block, kind) for block in blocks]


def _float(name: str, blocks: Sequence[Block], values: Sequence[Any]) -> Var:
    operands = [cast(block, "float") for block in blocks]
    if name in ("power", "float_power") and values[-1] == 2:
        return op.mul(operands[0], operands[0])
    function = _FLOATS.get(name)
    if function is None:
        raise Unsupported(f"{name} is not compiled")
    return function(*operands)


def _int(name: str, blocks: Sequence[Block], values: Sequence[Any]) -> Var:
    operands = [cast(block, "int") for block in blocks]
    if name in ("floor", "ceil", "trunc", "positive", "round"):
        return operands[0]
    if name == "power":
        return _int_power(operands[0], values[-1])
    if name in ("floor_divide", "remainder"):
        return _int_division(name, *operands)
    function = _INTS.get(name)
    if function is None:
        raise Unsupported(f"{name} is not compiled for integers")
    return function(*operands)


def _int_power(base: Var, exponent: Any) -> Var:
    """Products, which wrap around as numpy's power does; ONNX Runtime's own rounds."""
    if not isinstance(exponent, int | np.integer) or not 1 <= int(exponent) <= 64:
        raise Unsupported("an integer to a power that is not constant, or not 1 to 64")
    result, square, left = None, base, int(exponent)
    while left:
        if left & 1:
            result = square if result is None else op.mul(result, square)
        left >>= 1
        if left:
            square = op.mul(square, square)
    assert result is not None
    return result


def _int_division(name: str, a: Var, b: Var) -> Var:
    """Rounded down; by zero 0 as numpy has it (pandas makes floats of that)."""
    zero, one, minus = ar.ints(0), ar.ints(1), ar.ints(-1)
    # the processor traps division by zero and that of the smallest integer by -1
    by_zero, by_minus = op.equal(b, zero), op.equal(b, minus)
    divisor = op.where(op.or_(by_zero, by_minus), one, b)
    if name == "remainder":
        return op.where(by_zero, zero, op.mod(a, divisor))
    quotient = op.div(a, divisor)  # rounded towards zero
    above = op.not_(op.equal(op.mul(quotient, divisor), a))
    below_zero = op.xor(op.less(a, zero), op.less(divisor, zero))
    quotient = op.sub(quotient, op.cast(op.and_(above, below_zero), to=np.int64))
    return op.where(by_zero, zero, op.where(by_minus, op.neg(a), quotient))


def _text(name: str, blocks: Sequence[Block]) -> Var:
    if name in ("isnan", "isna"):
        return is_missing(blocks[0])
    if any(block.kind != "text" for block in blocks) or name not in ("equal", "not_equal", "add"):
        raise Unsupported(f"{name} is not compiled for text")
    gaps = [is_missing(block) for block in blocks if block.nan]
    a, b = (block.var for block in blocks)
    if name == "add":
        result = op.string_concat(a, b)
        for gap in gaps:
            result = op.where(gap, ar.texts(MISSING_TEXT), result)
        return result
    equal = op.equal(a, b)
    if len(gaps) == 2:
        equal = op.and_(equal, op.not_(gaps[0]))
    return equal if name == "equal" else op.not_(equal)


def _test(name: str, block: Block) -> Var:
    if block.kind != "float":
        same = op.equal(block.var, block.var)
        return same if name == "isfinite" else op.not_(same)
    if name in ("isnan", "isna"):
        return op.isnan(block.var)
    if name == "isinf":
        return op.isinf(block.var)
    return op.not_(op.or_(op.isnan(block.var), op.isinf(block.var)))


# --- functions of floats ----------------------------------------------------------------------


def _trunc(x: Var) -> Var:
    return op.where(op.less(x, const(0.0)), op.ceil(x), op.floor(x))


def _sign(x: Var) -> Var:
    return op.where(op.isnan(x), x, op.sign(x))


def _fmax(a: Var, b: Var) -> Var:
    return op.where(op.isnan(a), b, op.where(op.isnan(b), a, ar.maximum(a, b)))


def _fmin(a: Var, b: Var) -> Var:
    return op.where(op.isnan(a), b, op.where(op.isnan(b), a, ar.minimum(a, b)))


def _times(factor: float) -> Unary:
    return lambda x: op.mul(x, const(factor))


def _not_equal(a: Var, b: Var) -> Var:
    return op.not_(op.equal(a, b))


_FLOATS: Mapping[str, Callable[..., Var]] = {
    "absolute": op.abs,
    "add": op.add,
    "arccos": trigonometry.arccos,
    "arcsin": trigonometry.arcsin,
    "arctan": trigonometry.arctan,
    "arctan2": trigonometry.arctan2,
    "ceil": op.ceil,
    "cos": trigonometry.cos,
    "cosh": trigonometry.cosh,
    "deg2rad": _times(np.pi / 180),
    "divide": op.div,
    "exp": op.exp,
    "exp2": lambda x: op.pow(const(2.0), x),
    "expm1": ar.expm1,
    "fabs": op.abs,
    "floor": op.floor,
    "floor_divide": ar.floor_divide,
    "fmax": _fmax,
    "fmin": _fmin,
    "fmod": lambda a, b: op.mod(a, b, fmod=1),
    "hypot": trigonometry.hypot,
    "log": op.log,
    "log10": logarithms.log10,
    "log1p": ar.log1p,
    "log2": logarithms.log2,
    "maximum": ar.maximum,
    "minimum": ar.minimum,
    "multiply": op.mul,
    "negative": op.neg,
    "positive": lambda x: x,
    "power": op.pow,
    "radians": _times(np.pi / 180),
    "rad2deg": _times(180 / np.pi),
    "degrees": _times(180 / np.pi),
    "reciprocal": lambda x: op.div(const(1.0), x),
    "remainder": ar.remainder,
    "rint": op.round,
    "sign": _sign,
    "sin": trigonometry.sin,
    "sinh": trigonometry.sinh,
    "sqrt": op.sqrt,
    "square": lambda x: op.mul(x, x),
    "subtract": op.sub,
    "tan": lambda x: op.div(trigonometry.sin(x), trigonometry.cos(x)),
    "tanh": op.tanh,
    "trunc": _trunc,
}
_INTS: Mapping[str, Callable[..., Var]] = {
    "absolute": op.abs,
    "add": op.add,
    "bitwise_and": op.bitwise_and,
    "bitwise_or": op.bitwise_or,
    "bitwise_xor": op.bitwise_xor,
    "fmax": lambda a, b: op.where(op.greater(a, b), a, b),
    "fmin": lambda a, b: op.where(op.less(a, b), a, b),
    "invert": op.bitwise_not,
    "maximum": lambda a, b: op.where(op.greater(a, b), a, b),
    "minimum": lambda a, b: op.where(op.less(a, b), a, b),
    "multiply": op.mul,
    "negative": op.neg,
    "sign": op.sign,
    "square": lambda x: op.mul(x, x),
    "subtract": op.sub,
}
_COMPARISONS: Mapping[str, Binary] = {
    "equal": op.equal,
    "greater": op.greater,
    "greater_equal": op.greater_or_equal,
    "less": op.less,
    "less_equal": op.less_or_equal,
    "not_equal": _not_equal,
}
_LOGIC: Mapping[str, Callable[..., Var]] = {
    "bitwise_and": op.and_,
    "bitwise_or": op.or_,
    "bitwise_xor": op.xor,
    "invert": op.not_,
    "logical_and": op.and_,
    "logical_not": op.not_,
    "logical_or": op.or_,
    "logical_xor": op.xor,
}
#: What numpy and pandas make of arithmetic among booleans.
_TRUTHS: Mapping[str, Callable[..., Var]] = {
    "absolute": lambda x: x,
    "add": op.or_,
    "fmax": op.or_,
    "fmin": op.and_,
    "maximum": op.or_,
    "minimum": op.and_,
    "multiply": op.and_,
}
_TESTS = ("isfinite", "isinf", "isna", "isnan")
#: Functions that return floats of integers too; of others it depends on the batch, see `gappy`.
ALWAYS_FLOAT = frozenset(
    """
    arccos arcsin arctan arctan2 cos cosh deg2rad degrees divide exp exp2 expm1 fabs float_power
    hypot log log10 log1p log2 rad2deg radians rint sin sinh sqrt tan tanh
    """.split()  # noqa: SIM905 - a list would take a screen
)
BY_BATCH = (
    "whole numbers that pandas makes floats of in some batches alone: where a value is missing or"
    " replaced, or a divisor is zero; use .astype(float) before"
)
#: Functions whose result is missing, or infinite, only where the argument is.
_PROMISES = ("absolute", "ceil", "floor", "negative", "rint", "sign", "trunc")
