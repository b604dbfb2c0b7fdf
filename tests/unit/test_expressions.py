import math
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from pyfunc_packaging.errors import PyFuncError
from pyfunc_packaging.expressions import (
    FUNCTIONS,
    MAX_DEPTH,
    Binary,
    Call,
    Column,
    ExpressionError,
    Number,
    String,
    Unary,
    parse,
    plain_column,
)

A = np.array([1.0, -2.0, 0.0, np.nan, 4.5])
B = np.array([2.0, 0.0, 0.0, 1.0, -0.5])


def value(text, **columns):
    return parse(text).evaluate(columns)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 - 2 - 1", 4),
        ("8 / 4 / 2", 1),
        ("2 ** 3 ** 2", 512),
        ("-3 ** 2", -9),
        ("(-3) ** 2", 9),
        ("2 ** -1", 0.5),
        ("2 ** -2 ** 2", 2**-4),
        ("--3", 3),
        ("-2 * 3", -6),
        ("-7 // 2", -4),
        ("-7 % 3", 2),
        ("7 % -3", -2),
        ("1e-3 + .5 + 1. + 2E+2", 201.501),
        ("clip(5, 0, 3) + minimum(1, 2) + maximum(1, 2)", 6),
        ("where(1 < 2, 10, 20)", 10),
        ("where(0, 10, 20)", 20),
        ("exp(0) + expm1(0) + log(1) + log1p(0) + sqrt(9) + abs(-2)", 6),
        ("(1 < 2) + (2 < 1)", 1),
        ("0 / 0 == 0 / 0", False),
        ("not 1 == 2", True),
        ("not 1 < 2 or 1 < 2", True),
        ("0 and 0 or 1", True),
        ("0 and (0 or 1)", False),
        ("1 or 0 and 0", True),
        ("not not 5", True),
        ("(1 < 2) & (3 < 2) | (1 == 1)", True),
        ("~(1 < 2)", False),
        ("~isnan(1) & (1 < 2)", True),
        ("\n 1 +\n\t2 ", 3),
    ],
)
def test_constant_value(text, expected):
    result = value(text)
    assert result.shape == ()
    assert result.dtype == (np.bool_ if isinstance(expected, bool) else np.float64)
    np.testing.assert_allclose(result, expected, rtol=1e-15)


def test_arithmetic_is_numpys_and_silent():
    assert value("a / b", a=[1, -1, 0], b=[0, 0, 0]).tolist()[:2] == [math.inf, -math.inf]
    assert math.isnan(value("a / b", a=[0], b=[0])[0])
    assert math.isnan(value("log(a)", a=[-1])[0])
    assert value("log(a)", a=[0])[0] == -math.inf
    assert math.isnan(value("a % b", a=[1], b=[0])[0])
    assert value("a // b", a=[1], b=[0])[0] == math.inf
    assert value("exp(a)", a=[1000])[0] == math.inf
    assert math.isnan(value("a ** 0.5", a=[-1])[0])
    assert math.isnan(value("minimum(a, 0)", a=[np.nan])[0])
    assert math.isnan(value("clip(a, 0, 1)", a=[np.nan])[0])
    assert value("clip(a, 0, 1)", a=[-3, 0.5, 3]).tolist() == [0, 0.5, 1]


def test_missing_numbers_in_conditions():
    np.testing.assert_array_equal(value("a == a", a=A), [True, True, True, False, True])
    np.testing.assert_array_equal(value("a != a", a=A), [False, False, False, True, False])
    np.testing.assert_array_equal(value("isnan(a)", a=A), np.isnan(A))
    np.testing.assert_array_equal(value("not a", a=A), [False, False, True, False, False])
    np.testing.assert_array_equal(value("where(isnan(a), b, a)", a=A, b=B), [1, -2, 0, 1, 4.5])


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1, None, 3], dtype="UInt8"),
        pd.Series([1, None, 3], dtype="Float64"),
        pd.Series([1, None, 3], dtype="float32"),
        pd.Series([1, None, 3], dtype="int64[pyarrow]"),
        pd.Series([1, None, 3], dtype="category"),
        pd.Series([1, pd.NA, 3], dtype="object"),
        pd.Series([1, None, 3.0], dtype="object"),
        pd.Series([True, None, 3], dtype="object"),
        pd.array([1, None, 3], dtype="Int64"),
        pd.Index([1, np.nan, 3]),
        np.array([1, np.nan, 3], dtype="float32"),
        np.array([1, pd.NaT, 3], dtype=object),
        np.ma.MaskedArray([1, 2, 3], mask=[False, True, False]),
        [1, None, 3],
        (np.int8(1), np.float32("nan"), 3),
    ],
    ids=lambda column: f"{type(column).__name__}-{getattr(column, 'dtype', '')}",
)
def test_numbers_of_any_dtype(column):
    result = value("a", a=column)
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, [1, np.nan, 3])


@pytest.mark.parametrize("dtype", ["bool", "boolean", "object", "bool[pyarrow]"])
def test_booleans_are_numbers(dtype):
    flag = pd.Series([True, False], dtype=dtype)
    assert value("flag + 1", flag=flag).tolist() == [2, 1]
    assert value("not flag and a > 0", flag=flag, a=[1, 1]).tolist() == [False, True]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["x", None, "y"], dtype="str"),
        pd.Series(["x", None, "y"], dtype="string"),
        pd.Series(["x", None, "y"], dtype="category"),
        pd.Series(["x", pd.NA, "y"], dtype="object"),
        pd.Series(["x", np.nan, "y"], dtype="object"),
        np.array(["x", None, "y"], dtype=object),
        np.ma.MaskedArray(["x", "x", "y"], mask=[False, True, False]),
        ["x", None, "y"],
    ],
    ids=lambda column: f"{type(column).__name__}-{getattr(column, 'dtype', '')}",
)
def test_text_of_any_dtype(column):
    assert value("a == 'x'", a=column).tolist() == [True, False, False]
    assert value("'x' != a", a=column).tolist() == [False, True, True]
    assert value("isnan(a)", a=column).tolist() == [False, True, False]
    assert value("(a == 'x') * 2 + (a == \"y\")", a=column).tolist() == [2, 0, 1]


def test_numpy_text_and_an_empty_column():
    assert value("a == 'x'", a=np.array(["x", "y"])).tolist() == [True, False]
    # a column without any value may be text as well as numbers
    assert value("a == 'x'", a=[None, np.nan]).tolist() == [False, False]
    assert value("a != 'x'", a=[None, np.nan]).tolist() == [True, True]
    assert value("a == 'x'", a=[]).shape == (0,)


def test_quotes():
    assert value("a == 'it''s'", a=["it's"]).tolist() == [True]
    assert value('a == "say ""hi"""', a=['say "hi"']).tolist() == [True]
    expression = parse("`median income` + `a``b` + größe_2")
    assert expression.columns == ("median income", "a`b", "größe_2")


def test_columns_are_listed_once_in_order():
    expression = parse("b + where(a > b, log, isnan(c))")
    assert expression.columns == ("b", "a", "log", "c")
    assert parse("1 + 1").columns == ()


def test_nodes():
    assert parse("-a ** 2 < 1 and not b == 'x'").root == Binary(
        "and",
        Binary("<", Unary("-", Binary("**", Column("a"), Number(2.0))), Number(1.0)),
        Unary("not", Binary("==", Column("b"), String("x"))),
    )
    assert parse("(a > 1) & ~isnan(b)").root == parse("a > 1 and not isnan(b)").root
    assert parse("clip(a, 0, 1)").root == Call("clip", (Column("a"), Number(0.0), Number(1.0)))


def test_result_is_a_new_array_of_the_columns_shape():
    assert value("a", a=A) is not A
    assert not np.shares_memory(value("a", a=A), A)
    assert value("2", a=A).tolist() == [2] * 5
    assert value("1 < 2", a=[[1, 2]]).tolist() == [[True, True]]
    assert value("a + 1", a=np.array([[1], [2]])).tolist() == [[2], [3]]
    result = value("2", a=A)
    result[0] = 0  # writable, and not five times the same number
    assert result.tolist() == [0, 2, 2, 2, 2]


def test_evaluates_a_dataframe():
    table = pd.DataFrame({"a": [1, 2], "b": [4, 4]})
    assert parse("b / a").evaluate(table).tolist() == [4, 2]


def test_expressions_are_values():
    expression = parse("a + `b c` * 2")
    assert pickle.loads(pickle.dumps(expression)) == expression
    assert hash(expression) == hash(parse("a + `b c` * 2"))
    with pytest.raises(AttributeError):
        expression.text = "b"


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "expected a number, a column, a function or '(', found the end"),
        ("   ", 3, "found the end"),
        ("a +", 3, "found the end"),
        ("a b", 2, "expected an operator or the end, found 'b'"),
        ("a + * b", 4, "found '*'"),
        ("(a + b", 6, "expected an operator or ')', found the end"),
        ("a)", 1, "expected an operator or the end, found ')'"),
        ("a = b", 2, "write '=='"),
        ("a ^ 2", 2, "write '**'"),
        ("!a", 0, "write 'not'"),
        ("a $ b", 2, "unexpected '$'"),
        ("a + 'x", 4, "closing quote"),
        ("`a", 0, "closing back-quote"),
        ("``", 0, "closing back-quote"),
        ("1abc", 1, "expected the end of the number, found 'a'"),
        ("1_000", 1, "expected the end of the number"),
        ("1e999", 0, "float64"),
        ("a < b < c", 6, "comparisons cannot be chained; write 'a < b and b < c'"),
        ("a > 1 & b > 2", 4, "parentheses"),
        ("~a", 1, "expected a condition beside '~'"),
        ("(a > 1) | b", 10, "write 'or'"),
        ("a * not b", 4, "put 'not …' in parentheses"),
        ("'x'", 0, "a text can only be compared with a column"),
        ("a + 'x'", 4, "a text can only be compared"),
        ("a < 'x'", 4, "a text can only be compared"),
        ("'x' == 'x'", 0, "a text can only be compared"),
        ("a + 1 == 'x'", 9, "a text can only be compared"),
        ("log('x')", 4, "a text can only be compared"),
        ("-'x'", 1, "a text can only be compared"),
        ("loge(a)", 0, "unknown function 'loge'; did you mean 'log'? There are: 'abs', 'clip'"),
        ("a(1)", 0, "unknown function 'a'"),
        ("`log`(1)", 5, "expected an operator or the end, found '('"),
        ("1 + log(a, b)", 4, "log() takes 1 argument, found 2"),
        ("where(a, b)", 0, "where() takes 3 arguments, found 2"),
        ("log()", 0, "log() takes 1 argument, found 0"),
        ("log(a", 5, "expected ',' or ')', found the end"),
        ("minimum(a,)", 10, "found ')'"),
        ("__import__('os')", 0, "unknown function '__import__'"),
        ("a.b", 1, "unexpected '.'"),
    ],
)
def test_errors_mark_the_place(text, position, message):
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    what, line, caret = str(caught.value).split("\n")
    assert message in what
    assert line == "    " + text
    assert caret == " " * (4 + position) + "^"
    assert isinstance(caught.value, PyFuncError)
    assert isinstance(caught.value, ValueError)


def test_error_in_many_or_long_lines():
    with pytest.raises(ExpressionError) as caught:
        parse("a +\n\tb $ c\n+ d")
    assert str(caught.value).split("\n")[1:] == ["     b $ c", "       ^"]
    with pytest.raises(ExpressionError) as caught:
        parse("a" * 500 + " $ " + "b" * 500)
    _, line, caret = str(caught.value).split("\n")
    assert len(line) < 130
    assert line[caret.index("^")] == "$"


def test_unknown_columns():
    with pytest.raises(ExpressionError, match=r"unknown column 'incom'; did you mean 'income'\?"):
        parse("rooms / incom", columns=["rooms", "income"])
    with pytest.raises(ExpressionError, match="There are: 'rooms'\n"):
        parse("`zzz zzz`", columns={"rooms"})
    with pytest.raises(ExpressionError, match="There are: none"):
        parse("a", columns=[])
    with pytest.raises(ExpressionError, match="and 70 more"):
        parse("a", columns=[f"c{i}" for i in range(100)])
    with pytest.raises(ExpressionError, match="unknown column 'b'") as caught:
        value("a + b", a=[1])
    assert str(caught.value).endswith("    a + b\n        ^")


@pytest.mark.parametrize("text", [None, 3, b"a", ["a"], np.str_])
def test_only_text_is_parsed(text):
    with pytest.raises(ExpressionError, match="expected an expression as str, found"):
        parse(text)


def test_columns_must_be_a_collection():
    with pytest.raises(ExpressionError, match="found one str"):
        parse("a", columns="abc")


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("a + 1", {"a": ["x"]}, "column 'a' holds text, expected numbers"),
        ("a < 1", {"a": ["x", 3]}, "column 'a' holds text"),
        ("a == 3", {"a": ["3"]}, "column 'a' holds text"),
        ("a == b", {"a": ["x"], "b": ["x"]}, "column 'a' holds text"),
        ("a == 'x'", {"a": [1.0]}, "column 'a' holds numbers, expected text"),
        ("a", {"a": pd.to_datetime(["2020-01-01"])}, "expected numbers or text, found datetime64"),
        ("a", {"a": np.array([1], dtype="m8[ns]")}, "expected numbers or text, found timedelta64"),
        ("a", {"a": [pd.Timestamp("2020-01-01")]}, "expected numbers or text, found Timestamp"),
        ("a", {"a": [10**400]}, "expected numbers that float64 can hold"),
        ("a", {"a": np.array([1j])}, "found complex"),
        ("a", {"a": [[1], [1, 2]]}, "found list"),
        ("a", {"a": [b"x"]}, "found bytes"),
        ("a + b", {"a": [1, 2], "b": [1]}, r"columns of one shape, found 'a' \(2,\), 'b' \(1,\)"),
    ],
)
def test_unsuitable_columns(text, columns, message):
    with pytest.raises(ExpressionError, match=message):
        parse(text).evaluate(columns)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "a" + ")" * 5000,
        "-" * 5000 + "a",
        "not " * 5000 + "a",
        "abs(" * 5000 + "a" + ")" * 5000,
        "a" + " ** a" * 5000,
        "a" + " + a" * 5000,
        "(" * 60 + "a" + " + a)" * 60 + " + a" * 60,
        "(" * 5000,
    ],
)
def test_deep_expressions_are_refused(text):
    with pytest.raises(ExpressionError, match=r"at most 100 operations|found the end"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * (MAX_DEPTH - 1) + "a" + ")" * (MAX_DEPTH - 1),
        "a" + " + a" * (MAX_DEPTH - 1),
        "abs(" * (MAX_DEPTH - 1) + "a" + ")" * (MAX_DEPTH - 1),
        "-" * (MAX_DEPTH - 1) + "a",
    ],
)
def test_the_deepest_expressions_work(text):
    expression = pickle.loads(pickle.dumps(parse(text)))
    assert expression == parse(text)
    assert abs(expression.evaluate({"a": [1.0]})[0]) in (1, MAX_DEPTH)
    assert repr(expression)


def test_wide_expressions_work():
    row = "(" + " + ".join(["a"] * 90) + ")"
    assert value(" + ".join([row] * 10), a=[1.0]).tolist() == [900]


def test_plain_column_leaves_its_input_alone():
    column = np.array(["x", np.nan], dtype=object)
    assert plain_column(column).tolist() == ["x", None]
    assert math.isnan(column[1])


# --- any tree, written as text, evaluates like numpy ---------------------------------------

COLUMNS = {"a": A, "b": B, "c d": np.array([3.0, -1.0, 7.25, 0.5, np.inf])}
BINARY = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": np.floor_divide,
    "%": np.remainder,
    "**": np.power,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
}
CALLS = {name: getattr(np, name) for name in FUNCTIONS if name not in ("where", "clip")}
CALLS["clip"] = lambda x, low, high: np.minimum(np.maximum(x, low), high)
CALLS["where"] = lambda condition, a, b: np.where(condition != 0, a, b)
# How strongly Python binds, written down again so as not to test the parser by itself.
STRENGTH = {"or": 1, "and": 2, "not": 3, "+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "%": 6, "**": 8}

leaves = st.one_of(
    st.sampled_from(list(COLUMNS)).map(lambda name: ("column", name)),
    st.floats(0, 1e6, allow_nan=False).map(lambda number: ("number", number)),
)


def branches(children):
    return st.one_of(
        st.tuples(st.just("unary"), st.sampled_from(["-", "not"]), children),
        st.tuples(st.just("binary"), st.sampled_from(list(BINARY)), children, children),
        st.sampled_from(list(CALLS)).flatmap(
            lambda name: st.tuples(st.just("call"), st.just(name), *[children] * FUNCTIONS[name])
        ),
    )


trees = st.recursive(leaves, branches, max_leaves=12)


def direct(tree):
    match tree:
        case "column", name:
            return COLUMNS[name]
        case "number", number:
            return np.float64(number)
        case "unary", "-", operand:
            return -np.asarray(direct(operand), dtype=float)
        case "unary", "not", operand:
            return np.logical_not(direct(operand))
        case "binary", operator, left, right:
            sides = [np.asarray(direct(side), dtype=float) for side in (left, right)]
            return BINARY[operator](*sides)
        case "call", name, *arguments:
            return CALLS[name](*[np.asarray(direct(one), dtype=float) for one in arguments])


def written(tree):
    """Text of a tree with as few parentheses as Python needs, and its binding strength."""
    match tree:
        case "column", name:
            return f"`{name}`" if " " in name else name, 9
        case "number", number:
            return repr(number), 9
        case "unary", operator, operand:
            strength = 3 if operator == "not" else 7
            return f"{operator} {grouped(operand, strength)}", strength
        case "binary", "**", left, right:
            return f"{grouped(left, 9)} ** {grouped(right, 7)}", 8
        case "binary", operator, left, right:
            strength = STRENGTH.get(operator, 4)
            left_strength = strength + (strength == 4)  # comparisons do not chain
            return (
                f"{grouped(left, left_strength)}{operator} {grouped(right, strength + 1)}",
                strength,
            )
        case "call", name, *arguments:
            return f"{name}({', '.join(written(one)[0] for one in arguments)})", 9


def grouped(tree, strength):
    text, found = written(tree)
    return f"{text} " if found >= strength else f"({text})"


@seed(20240501)
@settings(max_examples=100, deadline=None, database=None)
@given(trees)
def test_any_tree_evaluates_like_numpy(tree):
    with np.errstate(all="ignore"):
        expected = np.broadcast_to(direct(tree), A.shape)
    expression = parse(written(tree)[0], columns=COLUMNS)
    result = expression.evaluate(COLUMNS)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)
    assert pickle.loads(pickle.dumps(expression)) == expression


pieces = st.sampled_from(
    [*"()+-*/%<>&|~,.'\"`=! \n", "**", "//", "==", "and", "or", "not", "a", "b", "1", "1e", "é"]
    + [f"{name}(" for name in FUNCTIONS]
)


@seed(20240502)
@settings(max_examples=150, deadline=None, database=None)
@given(st.one_of(st.text(), st.lists(pieces, max_size=30).map("".join)))
def test_any_text_is_an_expression_or_an_expression_error(text):
    try:
        expression = parse(text)
    except ExpressionError as error:
        assert "^" in str(error)  # noqa: PT017 - not raising is right too
        return
    columns = dict.fromkeys(expression.columns, A)
    try:
        assert expression.evaluate(columns).dtype in (np.float64, np.bool_)
    except ExpressionError as error:  # a comparison with a text
        assert "holds numbers" in str(error)  # noqa: PT017 - as above
