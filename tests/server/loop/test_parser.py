"""The language's grammar: what binds how, and how deep it may nest."""

from __future__ import annotations

import pytest
from poseloop_server.loop.language import ExpressionError, compile_expression
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
    Truth,
)
from poseloop_server.loop.language.parser import MAX_DEPTH, MAX_LENGTH, parse

from tests.server.loop.scenes import names


def complaint(text: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, names(values=["energy"]))
    return caught.value


def shown(node: Node) -> str:
    """Return a tree with parentheses around everything that is made of several."""
    match node:
        case Number(value=value, unit=unit):
            return f"{value:g}{unit}"
        case Truth(value=value):
            return str(value).lower()
        case Name(name=name):
            return name
        case Call(name=name, arguments=arguments):
            return f"{name}({', '.join(map(shown, arguments))})"
        case Negative(operand=operand):
            return f"[-{shown(operand)}]"
        case Not(operand=operand):
            return f"[not {shown(operand)}]"
        case Arithmetic(operator=operator, left=left, right=right) | Logic(operator=operator, left=left, right=right):
            return f"[{shown(left)} {operator} {shown(right)}]"
        case Comparison(operands=operands, operators=operators):
            rest = "".join(f" {operator} {shown(one)}" for operator, one in zip(operators, operands[1:], strict=True))
            return f"[{shown(operands[0])}{rest}]"
        case Membership(point=point, zone=zone, is_negated=is_negated):
            return f"[{shown(point)} {'not in' if is_negated else 'in'} {shown(zone)}]"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a or b and not c", "[a or [b and [not c]]]"),
        ("a and b or c and d", "[[a and b] or [c and d]]"),
        ("not a in b", "[not [a in b]]"),
        ("not not a", "[not [not a]]"),
        ("a not in b and c", "[[a not in b] and c]"),
        ("1 < a <= 2 == b", "[1 < a <= 2 == b]"),
        ("1 - 2 - 3", "[[1 - 2] - 3]"),
        ("1 - (2 - 3)", "[1 - [2 - 3]]"),
        ("1 + 2 * -a / 3", "[1 + [[2 * [-a]] / 3]]"),
        ("--1 > a + 1", "[[-[-1]] > [a + 1]]"),
        ("f(a, g(), b in c)", "f(a, g(), [b in c])"),
        ("20 px/s+3 ms", "[20px/s + 3ms]"),
        ("2 and 3", "[2 and 3]"),
        ("1 / s2", "[1 / s2]"),
        ('"tail tip" in \'left "arm"\'', '[tail tip in left "arm"]'),
        ("motion_energy.corner > .5", "[motion_energy.corner > 0.5]"),
        ("ünderground > 1", "[ünderground > 1]"),
        ("nothing or inside or truest", "[[nothing or inside] or truest]"),
        ("\ttrue\n and (false)", "[true and false]"),
    ],
)
def test_what_binds_how(text: str, tree: str) -> None:
    assert shown(parse(text)) == tree


def one_sentence(error: ExpressionError, text: str) -> None:
    assert error.message
    assert "\n" not in error.message.replace(text, "")
    assert 1 <= error.column <= max(len(text), MAX_LENGTH) + 1


@pytest.mark.parametrize("count", [MAX_DEPTH, 900, 10_000, 1_000_000])
@pytest.mark.parametrize("what", ["(", "not ", "-", "f(", "1+", "1 and ", "((1)+"])
def test_no_depth_is_more_than_one_sentence(what: str, count: int) -> None:
    one_sentence(complaint(what * count), what * count)
    one_sentence(complaint(f"{what * count}1{')' * (count + 1)}"), what * count)


def test_parentheses_that_close_nest_as_deep_as_the_text_is_long() -> None:
    assert shown(parse("(" * 999 + "a" + ")" * 999)) == "a"


@pytest.mark.parametrize("made", ["-{}", "abs({})", "{} + 1", "1 + {}", "mean({}, 1 s)"])
def test_what_is_allowed_to_nest_can_be_compiled(made: str) -> None:
    text = "energy"
    for _ in range(MAX_DEPTH - 1):
        text = made.format(text)
    compile_expression(text, names(values=["energy"]))
    assert "within one another" in complaint(made.format(text)).message
