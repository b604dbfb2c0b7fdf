"""The parser of expressions: from text to a tree of nodes."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple, NoReturn

from pyfunc_packaging._expression_nodes import (
    COMPARISONS,
    FUNCTIONS,
    MAX_DEPTH,
    Binary,
    Call,
    Column,
    Node,
    Number,
    String,
    Unary,
    children,
    fail,
    unknown,
)

# Binding powers, weakest first, as in Python's grammar.
_OR, _AND, _NOT, _COMPARE, _BAR, _AMPERSAND, _SUM, _PRODUCT, _SIGN, _POWER = range(1, 11)
_INFIX = {
    "or": _OR,
    "and": _AND,
    **dict.fromkeys(COMPARISONS, _COMPARE),
    "|": _BAR,
    "&": _AMPERSAND,
    **dict.fromkeys("+-", _SUM),
    **dict.fromkeys(["*", "/", "//", "%"], _PRODUCT),
    "**": _POWER,
}
_SYMBOLS = {"&": "and", "|": "or", "~": "not"}
_HINTS = {
    "=": "; write '==' to compare",
    "^": "; write '**' for a power",
    "!": "; write 'not' or '!='",
    "`": "; a back-quoted column name needs its closing back-quote",
    "'": "; a text needs its closing quote",
    '"': "; a text needs its closing quote",
}


def parse_tree(text: str, columns: Collection[str] | None) -> Node:
    """Read the tree of an expression over `columns`; None allows any column."""
    return _Parser(text, columns).parse()


def _is_condition(node: Node) -> bool:
    match node:
        case Unary("not") | Call("isnan"):
            return True
        case Binary(operator):
            return operator in COMPARISONS or operator in ("and", "or")
        case _:
            return False


class _Token(NamedTuple):
    kind: str  # number, string, column, name, operator or end
    text: str
    position: int


_TOKEN = re.compile(
    r"""(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<name>[^\W\d]\w*)
      | (?P<column>`(?:[^`]|``)+`)
      | (?P<string>'(?:[^']|'')*'|"(?:[^"]|"")*")
      | (?P<operator>\*\*|//|<=|>=|==|!=|[-+*/%<>&|~(),])
    """,
    re.VERBOSE,
)


def _tokens(text: str) -> Iterator[_Token]:
    """Yield the tokens of a text, the last one of kind ``end``."""
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        match = _TOKEN.match(text, position)
        if match is None:
            character = text[position]
            fail(text, position, f"unexpected {character!r}{_HINTS.get(character, '')}")
        kind, found = str(match.lastgroup), match.group()
        if kind in ("column", "string"):
            quote = found[0]
            found = found[1:-1].replace(quote * 2, quote)
        elif found in ("and", "or", "not"):
            kind = "operator"
        elif kind == "number":
            following = text[match.end() : match.end() + 1]
            if following.isalnum() or following == "_":
                fail(text, match.end(), f"expected the end of the number, found {following!r}")
            if math.isinf(float(found)):
                fail(text, position, "expected a number that float64 can hold")
        yield _Token(kind, found, position)
        position = match.end()
    yield _Token("end", "", len(text))


class _Parser:
    """A Pratt parser: one method reads operands, the other weighs the operators between."""

    def __init__(self, text: str, columns: Collection[str] | None) -> None:
        self.text = text
        self.columns = columns
        self.tokens = list(_tokens(text))
        self.index = 0
        self.depth = 0

    def parse(self) -> Node:
        root = self.expression(0)
        if self.peek().kind != "end":
            self.unexpected("an operator or the end")
        self.refuse_text(root, 0)
        self.check_height(root)
        return root

    def peek(self) -> _Token:
        return self.tokens[self.index]

    def take(self) -> _Token:
        token = self.tokens[self.index]
        self.index += 1
        return token

    def expect(self, text: str, expected: str) -> None:
        token = self.peek()
        if token.kind != "operator" or token.text != text:
            self.unexpected(expected)
        self.index += 1

    def expression(self, power: int) -> Node:
        """Read operands joined by operators that bind more strongly than `power`."""
        start = self.peek().position
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.too_deep(start)
        left = self.operand(power)
        while True:
            token = self.peek()
            strength = _INFIX.get(token.text, 0) if token.kind == "operator" else 0
            if strength <= power:
                break
            self.index += 1
            right_start = self.peek().position
            # ** joins from the right, and its right side may carry a sign: 2 ** -1
            right = self.expression(_SIGN - 1 if token.text == "**" else strength)
            self.check_operands(token, (left, start), (right, right_start))
            left = Binary(_SYMBOLS.get(token.text, token.text), left, right)
            following = self.peek()
            if (
                strength == _COMPARE
                and following.kind == "operator"
                and following.text in COMPARISONS
            ):
                message = "comparisons cannot be chained; write 'a < b and b < c'"
                fail(self.text, following.position, message)
        self.depth -= 1
        return left

    def operand(self, power: int) -> Node:  # noqa: RET503 - the last line raises
        """Read one operand with the sign or ``not`` before it."""
        token = self.take()
        match token:
            case _Token("number", text):
                return Number(float(text))
            case _Token("string", text):
                return String(text)
            case _Token("column", name):
                return self.column(token, name)
            case _Token("name", name):
                if self.peek()[:2] == ("operator", "("):
                    return self.call(token)
                return self.column(token, name)
            case _Token("operator", "("):
                inner = self.expression(0)
                self.expect(")", "an operator or ')'")
                return inner
            case _Token("operator", "-" | "~" | "not" as symbol):
                if symbol == "not" and power >= _NOT:
                    fail(self.text, token.position, "put 'not …' in parentheses here")
                start = self.peek().position
                inner = self.expression(_NOT - 1 if symbol == "not" else _SIGN - 1)
                self.refuse_text(inner, start)
                if symbol == "~":
                    self.require_condition("~", inner, start)
                return Unary(_SYMBOLS.get(symbol, symbol), inner)
        self.index -= 1
        self.unexpected("a number, a column, a function or '('")

    def column(self, token: _Token, name: str) -> Column:
        if self.columns is not None and name not in self.columns:
            fail(self.text, token.position, unknown("column", name, self.columns))
        return Column(name, token.position)

    def call(self, token: _Token) -> Call:
        count = FUNCTIONS.get(token.text)
        if count is None:
            fail(self.text, token.position, unknown("function", token.text, FUNCTIONS))
        self.expect("(", "'('")
        arguments: list[Node] = []
        while self.peek()[:2] != ("operator", ")"):
            if arguments:
                self.expect(",", "',' or ')'")
            start = self.peek().position
            arguments.append(self.expression(0))
            self.refuse_text(arguments[-1], start)
        self.index += 1
        if len(arguments) != count:
            expected = f"{count} argument" + "s" * (count > 1)
            message = f"{token.text}() takes {expected}, found {len(arguments)}"
            fail(self.text, token.position, message)
        return Call(token.text, tuple(arguments))

    def check_operands(
        self, operator: _Token, left: tuple[Node, int], right: tuple[Node, int]
    ) -> None:
        for (node, position), (other, _) in ((left, right), (right, left)):
            if operator.text not in ("==", "!=") or not isinstance(other, Column):
                self.refuse_text(node, position)
            if operator.text in _SYMBOLS:
                self.require_condition(operator.text, node, position)

    def require_condition(self, symbol: str, node: Node, position: int) -> None:
        if not _is_condition(node):
            message = f"expected a condition beside {symbol!r}, which binds before comparisons"
            hint = f"put comparisons in parentheses or write {_SYMBOLS[symbol]!r}"
            fail(self.text, position, f"{message}; {hint}")

    def refuse_text(self, node: Node, position: int) -> None:
        if isinstance(node, String):
            message = "a text can only be compared with a column, by == or !="
            fail(self.text, position, message)

    def check_height(self, root: Node) -> None:
        # Long sums nest to the left without any recursion in the parser.
        waiting = [(root, 1)]
        while waiting:
            node, height = waiting.pop()
            if height > MAX_DEPTH:
                self.too_deep(0)
            waiting.extend((child, height + 1) for child in children(node))

    def too_deep(self, position: int) -> NoReturn:
        message = f"expected at most {MAX_DEPTH} operations inside one another"
        fail(self.text, position, f"{message}; split the expression into several features")

    def unexpected(self, expected: str) -> NoReturn:
        token = self.peek()
        found = "the end" if token.kind == "end" else repr(token.text)
        fail(self.text, token.position, f"expected {expected}, found {found}")
