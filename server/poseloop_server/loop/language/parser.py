"""From text to a tree, by a grammar that Lark turns into a table once.

The parser keeps its own stack, so no depth of nesting can exhaust Python's; what is built is bounded in length and in
depth, so that whatever walks the tree may recurse.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

from poseloop_server.loop.language.errors import ExpressionError, nearest
from poseloop_server.loop.language.nodes import (
    Arithmetic,
    Call,
    Comparison,
    Logic,
    Membership,
    Name,
    Negative,
    Node,
    Not,
    Number,
    Span,
    Truth,
)
from poseloop_server.loop.language.units import UNITS, is_unit

MAX_LENGTH = 2000  # characters
MAX_DEPTH = 64  # operators and calls within one another

_GRAMMAR = r"""
?start: disjunction
?disjunction: conjunction | disjunction OR conjunction -> logic
?conjunction: negation | conjunction AND negation -> logic
?negation: comparison | NOT negation -> not_
?comparison: sum
    | sum (COMPARE sum)+ -> compare
    | sum IN sum -> member
    | sum NOT IN sum -> not_member
?sum: product | sum (PLUS | MINUS) product -> arithmetic
?product: unary | product (TIMES | OVER) unary -> arithmetic
?unary: atom | MINUS unary -> negative
?atom: NUMBER -> number
    | (TRUE | FALSE) -> truth
    | (NAME | QUOTED) -> name
    | NAME OPEN [disjunction (COMMA disjunction)*] CLOSE -> call
    | OPEN disjunction CLOSE -> inner

AND: "and"
OR: "or"
NOT: "not"
IN: "in"
TRUE: "true"
FALSE: "false"
COMPARE: "<=" | ">=" | "==" | "!=" | "<" | ">"
PLUS: "+"
MINUS: "-"
TIMES: "*"
OVER: "/"
OPEN: "("
CLOSE: ")"
COMMA: ","
NUMBER: /(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?:\s*(?!(?:and|or|not|in|true|false)\b)[^\W\d]\w*(?:\/s2?(?!\w))?)?/
NAME: /[^\W\d]\w*(?:\.\w+)*/
QUOTED: /"[^"]*"|'[^']*'/
%ignore /\s+/
"""
_NUMBER = re.compile(r"(?P<value>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<unit>.*)", re.DOTALL)
_HINTS = {
    "=": "compare with ==",
    "&": "write and",
    "|": "write or",
    "!": "write not, or != to compare",
    '"': "the quotation mark is not closed",
    "'": "the quotation mark is not closed",
    "#": "there are no comments in an expression",
    "[": "use parentheses",
    "{": "use parentheses",
    "%": "there are + - * and /",
    "^": "there are + - * and /",
    "\u201c": "the quotation marks are \" and '",
    "\u201d": "the quotation marks are \" and '",
    "\u2018": "the quotation marks are \" and '",
    "\u2019": "the quotation marks are \" and '",
}


def parse(text: str) -> Node:
    """Return the tree of an expression.

    Raises:
        ExpressionError: it is none, or longer or deeper than is allowed.
    """
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken, VisitError

    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            f"an expression may have {MAX_LENGTH} characters and this one has {len(text)}; "
            "give parts of it a name under quantities",
            MAX_LENGTH + 1,
        )
    if not text.strip():
        raise ExpressionError("the expression is empty", 1)
    try:
        return _parser().parse(text)  # type: ignore[no-any-return]
    except UnexpectedCharacters as error:
        raise _character_error(text, error.pos_in_stream or 0) from None
    except UnexpectedToken as error:
        raise _token_error(text, error) from None
    except VisitError as error:
        raise error.orig_exc from None


def _character_error(text: str, position: int) -> ExpressionError:
    character = text[position]
    hint = _HINTS.get(character, "no expression contains it outside quotes")
    return ExpressionError(f"{character!r} is not understood here: {hint}", position + 1)


def _token_error(text: str, error: Any) -> ExpressionError:
    """Say what is missing, from what the parser could have gone on with."""
    expected = set(error.accepts or error.expected)
    wants_value = "NUMBER" in expected
    if error.token.type == "$END":
        what = "a value is missing" if wants_value else "a ')' is missing"
        return ExpressionError(f"the expression ends too early: {what}", len(text) + 1)
    found = repr(str(error.token))
    if error.token.type == "NAME" and error.token.lower() in {"and", "or", "not", "in", "true", "false"}:
        return ExpressionError(f"{found} is written in small letters", error.token.start_pos + 1)
    if wants_value:
        said = f"a value, such as a keypoint, a function or a number, is missing before {found}"
    elif error.token.type in {"NAME", "QUOTED", "NUMBER", "TRUE", "FALSE", "OPEN"}:
        said = f"an operator, such as and, > or +, is missing before {found}; a name with spaces or dashes has quotes"
    elif error.token.type == "CLOSE":
        said = "this ')' closes nothing"
    elif error.token.type == "COMMA" and text[error.token.start_pos - 1 : error.token.start_pos].isdigit():
        said = "',' is not expected here; numbers have a point, as in 3.5"
    else:
        said = f"{found} is not expected here; put parentheses around what belongs together"
    return ExpressionError(said, error.token.start_pos + 1)


@cache
def _parser() -> Any:
    from lark import Lark, Transformer

    # Lark calls the methods that have the names of the rules.
    builder = type("Builder", (_Builder, Transformer), {})
    return Lark(_GRAMMAR, parser="lalr", transformer=builder(), maybe_placeholders=False)


def _over(first: Any, last: Any, *children: Node) -> Span:
    start = first.span.start if hasattr(first, "span") else first.start_pos
    end = last.span.end if hasattr(last, "span") else last.end_pos
    depth = 1 + max((child.span.depth for child in children), default=0)
    if depth > MAX_DEPTH:
        raise ExpressionError(
            f"more than {MAX_DEPTH} operators stand within one another; give parts a name under quantities", start + 1
        )
    return Span(start, end, depth)


class _Builder:
    """Makes a node of each rule as soon as it is recognised; what it gets are tokens and nodes."""

    def number(self, parts: list[Any]) -> Node:
        match = _NUMBER.fullmatch(str(parts[0]))
        assert match is not None
        value = float(match["value"])
        if math.isinf(value):
            raise ExpressionError(f"{match['value']} is too large a number", parts[0].start_pos + 1)
        if match["unit"] and not is_unit(match["unit"]):
            said = f"there is no unit {match['unit']!r}{nearest(match['unit'], UNITS)}"
            raise ExpressionError(said, parts[0].start_pos + match.start("unit") + 1)
        return Number(_over(parts[0], parts[0]), value, match["unit"])

    def truth(self, parts: list[Any]) -> Node:
        return Truth(_over(parts[0], parts[0]), parts[0].type == "TRUE")

    def name(self, parts: list[Any]) -> Node:
        token = parts[0]
        return Name(_over(token, token), str(token)[1:-1] if token.type == "QUOTED" else str(token))

    def call(self, parts: list[Any]) -> Node:
        arguments = tuple(part for part in parts[2:-1] if hasattr(part, "span"))
        return Call(_over(parts[0], parts[-1], *arguments), str(parts[0]), arguments)

    def inner(self, parts: list[Any]) -> Node:
        return parts[1]  # type: ignore[no-any-return]

    def negative(self, parts: list[Any]) -> Node:
        return Negative(_over(parts[0], parts[1], parts[1]), parts[1])

    def arithmetic(self, parts: list[Any]) -> Node:
        left, operator, right = parts
        return Arithmetic(_over(left, right, left, right), str(operator), left, right)

    def compare(self, parts: list[Any]) -> Node:
        operands = tuple(parts[::2])
        operators = tuple(str(token) for token in parts[1::2])
        return Comparison(_over(parts[0], parts[-1], *operands), operands, operators)

    def member(self, parts: list[Any]) -> Node:
        return Membership(_over(parts[0], parts[-1], parts[0], parts[-1]), parts[0], parts[-1], False)

    def not_member(self, parts: list[Any]) -> Node:
        return Membership(_over(parts[0], parts[-1], parts[0], parts[-1]), parts[0], parts[-1], True)

    def logic(self, parts: list[Any]) -> Node:
        left, operator, right = parts
        return Logic(_over(left, right, left, right), str(operator), left, right)

    def not_(self, parts: list[Any]) -> Node:
        return Not(_over(parts[0], parts[1], parts[1]), parts[1])
