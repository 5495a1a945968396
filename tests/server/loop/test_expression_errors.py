from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from poseloop_server.loop.language import (
    ExpressionError,
    Scene,
    check_quantities,
    compile_condition,
    compile_expression,
)

from tests.server.loop.scenes import names, pose

QUANTITIES = {"pace": "speed(snout)", "loop": "2 * round", "round": "loop + 1", "bad": "speed(snot)"}
KNOWN = {"quantities": QUANTITIES, "values": ["energy"]}
WORDS = ["snout", "neck", '"left ear"', "corner", "port", "energy", "pace", "loop", "center", "speed", "mean", "in"]
WORDS += [
    "(",
    ")",
    ",",
    "+",
    "-",
    "*",
    "/",
    "<",
    "<=",
    "==",
    ">",
    "and",
    "or",
    "not",
    "true",
    "1",
    "2 s",
    "50 ms",
    "0.5",
]
WORDS += ["inside", "time_in", "distance", "angle", "heading", "min", "sqrt", "px", "'", '"', "=", ".", "abs", "rate"]


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("snot in corner", 1, "there is no keypoint 'snot'; did you mean snout?"),
        ("snout in croner", 10, "there is no zone 'croner'; did you mean corner?"),
        ("snout in corner and spead(snout) > 3", 21, "there is no function 'spead'; did you mean speed?"),
        ("speed(left) > 3", 7, "there is no keypoint 'left'; did you mean \"left ear\"?"),
        ("pce > 3", 1, "there is no keypoint, zone, quantity or value 'pce'; did you mean pace?"),
        ("speed(xyzzy) > 3", 7, 'known: snout, neck, "left ear", tailbase, pace, loop, round, bad'),
        ("speed > 3", 1, "speed is a function; write it with what it takes, as in speed(snout, 100 ms)"),
        ("snout(3) > 3", 1, "snout is no function; write it without parentheses"),
        ("snout", 1, "snout is a keypoint; ask something of it, as in speed(snout)"),
        ("corner", 1, "corner is a zone; ask something of it, as in inside(snout, corner)"),
        ("pace", 1, "a condition is true or false, and pace is a number; compare it, as in pace > 1"),
        ("pace and true", 1, "'and' takes what is true or false, and pace is a number; compare it, as in pace > 1"),
        ("not corner", 5, "'not' takes what is true or false, and corner is a zone; say what is in it, as in snout in"),
        ("true or snout", 9, "'or' takes what is true or false, and snout is a keypoint; ask something of it"),
        ("snout > 3", 1, "a comparison takes numbers, and snout is a keypoint; of it there are x(snout)"),
        ("true == true", 1, "a comparison takes numbers, and true is a truth value"),
        ("2 * corner > 3", 5, "'*' takes numbers, and corner is a zone"),
        ("-snout > 3", 2, "'-' takes numbers, and snout is a keypoint"),
        ("corner in snout", 1, "'in' takes a keypoint here, and corner is a zone; its centre is center(corner)"),
        ("snout in neck", 10, "'in' takes a zone here, and neck is a keypoint; known: corner, port"),
        ("distance(snout, corner) > 3", 17, "distance takes a keypoint here, and corner is a zone; its centre is"),
        ("angle(snout, neck) > 3", 1, "angle takes 3 arguments, as in angle(leftear, snout, rightear), and got 2"),
        ("speed() > 3", 1, "speed takes 1 or 2 arguments, as in speed(snout, 100 ms), and got 0"),
        ("min(1) > 3", 1, "min takes 2 or more arguments"),
        ("x(center()) > 3", 3, "center takes keypoints, as in center(neck, tailbase), or a zone"),
        (
            "x(center(snout, corner)) > 3",
            17,
            "center takes keypoints, as in center(neck, tailbase), and corner is a zone",
        ),
        ("time_in(snout, corner) > 2", 26, "is a duration, so the unit of 2 has to be said, as in 2 s or 2 ms"),
        ("2 < time_in(snout, corner)", 1, "is a duration, so the unit of 2 has to be said"),
        ("time_in(snout, corner) > 1 + 1", 26, "is a duration, so the unit of 1 + 1 has to be said, as in 2 s"),
        ("time_in(snout, corner) > 2 px", 26, "time_in(snout, corner) is in s and 2 px in px"),
        ("speed(snout) > 30 px", 16, "speed(snout) is in px/s and 30 px in px, so they can't be compared or added"),
        ("speed(snout) + x(snout) > 3", 16, "speed(snout) is in px/s and x(snout) in px"),
        ("min(pace, 2 s) > 1", 11, "pace is in px/s and 2 s in s"),
        ("pace > 2 sek", 10, "there is no unit 'sek'; known: ms, s, min, deg, px, cm, mm"),
        ("pace > 2 PX", 10, "there is no unit 'PX'; did you mean px?"),
        ("pace > 3 cm/s", 8, "cm needs pixels_per_cm in the configuration; or write the length in px"),
        (
            "mean(pace, 0.5) > 2",
            12,
            "mean takes a duration here: the unit of 0.5 has to be said, as in 500 ms or 0.5 s",
        ),
        ("mean(pace, 5 px) > 2", 12, "5 px is no duration"),
        ("mean(pace, 2 * 1 s) > 2", 12, "mean takes a duration here that is written out, such as 500 ms, not 2 * 1 s"),
        ("mean(pace, 0 s) > 2", 12, "mean looks back over more than 0 and at most 60 s, not 0 s"),
        ("mean(pace, 2 min) > 2", 12, "at most 60 s, not 2 min"),
        ("speed(snout, -1 s) > 2", 14, "speed takes a duration here that is written out"),
        ("mean(3, 1 s) > 2", 6, "3 never changes, so mean of it tells nothing"),
        ("mean(heading(neck, snout), 1 s) > 2", 6, "is a direction, which jumps from 180 to -180 degrees"),
        ("mean(snout in corner, 1 s) > 2", 6, "mean takes numbers, and snout in corner is a truth value"),
        ("sqrt(pace) > 2", 6, "pace has a unit of which there is no root"),
        ("angle_between(pace, pace) > 2", 1, "angle_between takes directions, as in angle_between(heading("),
        ("pace > 1 / 0", 8, "1 / 0 has no value"),
        ("pace > sqrt(-1)", 8, "sqrt(-1) has no value"),
        ("pace > 1e999", 8, "1e999 is too large a number"),
        ("loop > 3", 1, "the quantity 'loop' depends on itself: loop -> round -> loop"),
        ("bad > 3", 7, "there is no keypoint 'snot'"),
        ("", 1, "the expression is empty"),
        (" \n", 1, "the expression is empty"),
        ("pace >", 7, "ends too early: a value is missing"),
        ("(pace > 3", 10, "ends too early: a ')' is missing"),
        ("pace > 3)", 9, "this ')' closes nothing"),
        ("pace > > 3", 8, "a value, such as a keypoint, a function or a number, is missing before '>'"),
        (
            "left ear in corner",
            6,
            "an operator, such as and, > or +, is missing before 'ear'; a name with spaces or dashes",
        ),
        ("pace > 3 snout in corner", 10, "there is no unit 'snout'"),
        ("snout in corner in port", 17, "'in' is not expected here; put parentheses around what belongs together"),
        ("pace = 3", 6, "'=' is not understood here: compare with =="),
        ("pace > 3 && true", 10, "'&' is not understood here: write and"),
        ("pace > 3 || true", 10, "'|' is not understood here: write or"),
        ("!true", 1, "'!' is not understood here: write not, or != to compare"),
        ("pace > 3 # fast", 10, "there are no comments"),
        ('"left ear in corner', 1, "the quotation mark is not closed"),
        ("pace > 3; import os", 9, "';' is not understood here: no expression contains it outside quotes"),
        ("pace ** 2 > 3", 7, "a value, such as a keypoint, a function or a number, is missing before '*'"),
        ("(" * 10_000 + "pace > 3" + ")" * 10_000, 2001, "may have 2000 characters and this one has 20008"),
        ("not " * 100 + "true", 145, "more than 64 operators stand within one another"),
        ("-" * 1000 + "1 > 2", 937, "more than 64 operators stand within one another"),
        ("abs(" * 300 + "1" + ")" * 300 + " > 2", 945, "more than 64 operators stand within one another"),
        ("1 + " * 300 + "1 > 2", 1, "more than 64 operators stand within one another"),
    ],
)
def test_a_mistake_is_one_sentence_at_its_place(text: str, column: int, said: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(said)) as caught:
        compile_condition(text, names(**KNOWN))
    assert caught.value.column == column
    assert "\n" not in str(caught.value)


def test_a_mistake_in_a_quantity_names_the_quantity() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_condition("pace > 3 and bad > 3", names(**KNOWN))
    assert (caught.value.quantity, caught.value.column) == ("bad", 7)
    with pytest.raises(ExpressionError) as caught:
        check_quantities(names(quantities={"pace": "speed(snout)", "bad": "speed(snout) >"}))
    assert (caught.value.quantity, caught.value.column) == ("bad", 15)


def test_quantities_may_not_be_nested_without_end() -> None:
    chain = {f"q{n}": f"q{n + 1} + 1" for n in range(200)} | {"q200": "speed(snout)"}
    with pytest.raises(ExpressionError, match="quantities are nested too deep"):
        compile_condition("q0 > 3", names(quantities=chain))
    backwards = names(quantities=dict(reversed(chain.items())))
    with pytest.raises(ExpressionError, match="quantities are nested too deep"):
        check_quantities(backwards)


def test_quantities_that_use_others_twice_cost_no_more() -> None:
    doubled = {f"q{n}": f"q{n + 1} + q{n + 1}" for n in range(20)} | {"q20": "x(snout)"}
    known = names(quantities=doubled)
    expression = compile_expression("q0", known)
    scene = Scene(known)
    scene.update(pose(0, {"snout": (1, 1)}))
    assert expression.evaluate(scene) == 2**20
    assert len(known.plan.makers) == 22


def _check(error: ExpressionError, text: str) -> None:
    where = QUANTITIES[error.quantity] if error.quantity else text
    assert 1 <= error.column <= len(where) + 1
    assert "\n" not in str(error)


def _compiles_or_says_why(text: str) -> None:
    known = names(**KNOWN)
    try:
        expression = compile_expression(text, known)
    except ExpressionError as error:
        _check(error, text)
        return
    scene = Scene(known)
    for seconds, places in ((0.0, {}), (0.01, {"snout": (1, 1), "neck": (2, 2)}), (0.02, {"snout": (3, 3)})):
        scene.update(pose(seconds, places))
        assert isinstance(expression.evaluate(scene), bool | float | None)
        expression.values(scene)


@given(st.text(max_size=80))
@example("(" * 2000)
@example("\x00")
@example("1" * 400 + " > x(snout)")
@example("x(snout)" * 240)
@example("not" * 600)
def test_any_text_compiles_or_says_why(text: str) -> None:
    _compiles_or_says_why(text)


@settings(max_examples=400)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join))
def test_any_words_compile_or_say_why(text: str) -> None:
    _compiles_or_says_why(text)


numbers = st.recursive(
    st.sampled_from(
        ["1", "2.5", "x(snout)", "speed(neck, 20 ms)", "energy", "pace", "confidence(center)", "2 s", "3 px"]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda each: f"-{each}"),
        inner.map(lambda each: f"mean({each}, 20 ms)"),
        inner.map(lambda each: f"rate({each})"),
        st.tuples(inner, inner).map(lambda pair: f"max({pair[0]}, {pair[1]})"),
    ),
    max_leaves=8,
)


@given(numbers, st.sampled_from([">", "<=", "=="]), numbers)
def test_any_comparison_compiles_or_says_why(left: str, operator: str, right: str) -> None:
    _compiles_or_says_why(f"{left} {operator} {right} and snout in port")
