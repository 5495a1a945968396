from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poseloop.errors import InvalidInputError
from poseloop_server.loop.language import Kind, Names, Scene, compile_condition, compile_expression
from poseloop_server.loop.pose import LoopPose

from tests.server.loop.scenes import evaluated, names, pose

NAN = math.nan
TRUTHS = (True, False, None)
PLACES = {"snout": (10, 20), "neck": (13, 24), "left ear": (9, 25), "tailbase": (150, 90)}


def value(text: str, known: Names | None = None, **values: float) -> Any:
    (result,) = evaluated(text, [pose(0, PLACES, values)], known or names(values=list(values)))
    return result


def truth_of(text: str, **truths: bool | None) -> Any:
    """Evaluate with names that are true, false or unknown."""
    numbers = {f"_{name}": NAN if truth is None else float(truth) for name, truth in truths.items()}
    known = names(values=list(numbers), quantities={name: f"_{name} > 0.5" for name in truths})
    return value(text, known, **numbers)


@pytest.mark.parametrize(("a", "b"), list(itertools.product(TRUTHS, TRUTHS)))
def test_logic_is_kleenes(a: bool | None, b: bool | None) -> None:
    order = {False: 0, None: 1, True: 2}
    assert truth_of("a and b", a=a, b=b) is min(a, b, key=order.__getitem__)
    assert truth_of("a or b", a=a, b=b) is max(a, b, key=order.__getitem__)
    assert truth_of("not a", a=a) is (None if a is None else not a)
    assert truth_of("not (a and b) ", a=a, b=b) is truth_of("not a or not b", a=a, b=b)


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">=", "==", "!="])
@pytest.mark.parametrize("left", [1.0, 2.0, NAN])
def test_a_comparison_with_what_is_unknown_is_unknown(operator: str, left: float) -> None:
    right = 2.0
    expected = {"<": left < right, "<=": left <= right, ">": left > right}
    expected |= {">=": left >= right, "==": left == right, "!=": left != right}
    known = None if math.isnan(left) else expected[operator]
    assert value(f"a {operator} b", a=left, b=right) is known
    mirrored = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(operator, operator)
    assert value(f"b {mirrored} a", a=left, b=right) is known


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3 - 4 / 2", 5),
        ("(1 + 2) * -3", -9),
        ("2 - 3 - 4", -5),
        ("8 / 2 / 2", 2),
        ("--2", 2),
        ("abs(-2) + sqrt(16)", 6),
        ("min(3, 1, 2) + max(3, 1)", 4),
        (".5 + 1. + 2e1", 21.5),
        ("2 s + 500 ms + 1 min", 62.5),
        ("distance(snout, neck) * 2", 10),
        ("sqrt(distance(snout, neck) * distance(snout, neck))", 5),
        ("a", 7),
        ("a / (a - 7)", NAN),
        ("sqrt(a - 8)", NAN),
        ("min(a, sqrt(a - 8))", NAN),
        ("angle_between(sqrt(a - 8), 90)", NAN),
    ],
)
def test_numbers(text: str, expected: float) -> None:
    assert value(text, a=7.0) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("snout in corner", True),
        ("tailbase in corner", False),
        ("tailbase not in corner", True),
        ("not tailbase in corner and snout in corner", True),
        ("inside('left ear', corner) and \"left ear\" in corner", True),
        ("1 < 2 < 3", True),
        ("1 < 2 > 3", False),
        ("1 < a <= 7 == 7", True),
        ("true or a > 100", True),
        ("false", False),
        ("a > 100 or\n  a < 8", True),
        ("distance(snout, neck) < 0.4 * 80", True),
        ("time_in(snout, corner) >= 0 and not time_in(snout, corner) > 0 ms", True),
        ("center(port) in port", True),
        ("center(center(snout), neck) in corner", True),
    ],
)
def test_truths(text: str, expected: bool) -> None:
    assert value(text, a=7.0) is expected


def test_no_missing_keypoint_makes_a_condition_true() -> None:
    for text in ("snout in corner", "snout not in corner", "not snout in corner", "x(snout) < 9", "not x(snout) > 9"):
        assert evaluated(text, [pose(0)]) == [None], text
        assert evaluated(f"{text} and neck in corner", [pose(0, {"neck": (90, 90)})]) == [False]
    assert evaluated("confidence(snout) < 0.5 or not confidence(snout) >= 0.5", [pose(0)]) == [None]


def test_named_quantities_are_points_numbers_truths_and_zones() -> None:
    quantities = {
        "body": 'center("left ear", neck)',
        "busy": "pace > 30 and body in nook",
        "pace": "speed(body)",
        "nook": "corner",
        "limit": "2 * 15 px/s",
    }
    known = names(quantities=quantities)
    expression = compile_condition("busy and pace > limit", known)
    assert expression.keypoints == ("left ear", "neck")
    assert list(expression.terms) == ["busy", "pace"]
    scene = Scene(known)
    for n in range(5):
        scene.update(pose(n / 100, {"left ear": (10 + n, 10), "neck": (12 + n, 10)}))
    assert expression.evaluate(scene) is True
    assert expression.values(scene) == {"busy": 1.0, "pace": pytest.approx(100)}
    assert {text: term(scene) for text, term in expression.terms.items()} == expression.values(scene)


def test_an_expression_says_what_it_is_made_of() -> None:
    known = names(values=["energy.corner"])
    text = "snout  not in corner and mean(speed(neck), 1 s) > 2*energy.corner or abs(x('left ear')) > 1"
    expression = compile_expression(text, known)
    assert expression.text == text
    assert expression.kind is Kind.TRUTH
    assert expression.keypoints == ("snout", "neck", "left ear")
    assert list(expression.terms) == ["snout in corner", "mean(speed(neck), 1 s)", "energy.corner", "x('left ear')"]
    scene = Scene(known)
    scene.update(pose(0, {"left ear": (0, 9)}))
    assert expression.values(scene) == pytest.approx(
        {"snout in corner": NAN, "mean(speed(neck), 1 s)": NAN, "energy.corner": NAN, "x('left ear')": 0}, nan_ok=True
    )


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("speed(snout)", "cm/s"),
        ("rate(speed(snout))", "cm/s2"),
        ("time_in(snout, corner)", "s"),
        ("confidence(snout)", ""),
        ("turn_rate(neck, snout)", "deg/s"),
        ("1 / time_in(snout, corner)", "1/s"),
        ("2 * x(snout)", "cm"),
    ],
)
def test_a_number_has_a_unit(text: str, unit: str) -> None:
    assert compile_expression(text, names(unit="cm", pixels_per_cm=10.0)).unit == unit


def test_what_expressions_share_is_measured_once() -> None:
    known = names(quantities={"pace": "speed(snout)"})
    for text in ("speed(snout) > 1", "speed( snout ) > 2", "speed(snout, 50 ms) > 3", "pace > 2", "snout in corner"):
        compile_condition(text, known)
    compile_condition("inside(snout, corner) and pace > 3", known)
    assert len(known.plan.makers) == 4  # speed twice, with and without its default; pace; inside


def test_a_scene_begins_anew_with_another_size_and_when_told_so() -> None:
    known = names()
    expression = compile_expression("time_in(snout, corner)", known)
    scene = Scene(known)
    assert math.isnan(expression.evaluate(scene) or NAN)
    poses = [pose(n / 10, {"snout": (10, 10)}) for n in range(3)]
    for each in poses:
        scene.update(each)
    assert expression.evaluate(scene) == pytest.approx(0.2)
    scene.update(pose(0.3, {"snout": (10, 10)}, size=(400, 100)))
    assert expression.evaluate(scene) == 0
    scene.update(pose(0.4, {"snout": (10, 10)}, size=(400, 100)))
    scene.reset()
    assert math.isnan(expression.evaluate(scene) or NAN)


def test_keypoints_are_found_by_name_whatever_their_order() -> None:
    known = names()
    expression = compile_expression("x(snout)", known)
    scene = Scene(known)
    scene.update(pose(0, {"snout": (1, 2)}))
    assert expression.evaluate(scene) == 1
    scene.update(pose(1, {"snout": (5, 2)}, keypoints=("tailbase", "snout")))
    assert expression.evaluate(scene) == 5
    scene.update(pose(2, {"tailbase": (5, 2)}, keypoints=("tailbase",)))
    assert math.isnan(expression.evaluate(scene) or NAN)


def test_a_stage_may_give_numbers_of_numpy() -> None:
    (known,) = evaluated("not a > 3", [pose(0, values={"a": np.float32(2)})], names(values=["a"]))
    assert known is True


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"zones": {"snout": names().zones["corner"]}}, "snout is the name of a keypoint and of a zone; rename one"),
        ({"values": ["left ear"]}, '"left ear" is the name of a keypoint and of a value of a stage'),
        ({"unit": "cm"}, "unit: cm needs pixels_per_cm"),
        ({"pixels_per_cm": 0.0}, "pixels_per_cm is 0; it has to be more than 0"),
        ({"pixels_per_cm": NAN}, "it has to be more than 0"),
    ],
)
def test_names_have_to_be_told_apart(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        names(**given_)


@given(
    st.lists(st.tuples(st.floats(0, 199, width=32), st.floats(0, 99, width=32), st.booleans()), min_size=2, max_size=80)
)
def test_the_same_poses_give_the_same_bits(walk: list[tuple[float, float, bool]]) -> None:
    known = names(quantities={"body": "center(snout, neck)"})
    texts = ("speed(body)", "turn_rate(neck, snout)", "mean(speed(snout), 100 ms)", "moved(body, 50 ms)")
    expressions = [
        compile_expression(text, known) for text in (*texts, "time_in(body, port)", "distance_to(body, port)")
    ]

    def run(poses: list[LoopPose], scene: Scene) -> list[str]:
        seen = []
        for each in poses:
            scene.update(each)
            seen.append(" ".join(float(expression.evaluate(scene) or 0).hex() for expression in expressions))
        return seen

    poses = [
        pose(n / 90, {"snout": (x, y), "neck": (y, x / 2)} if seen else {"neck": (y, 1)})
        for n, (x, y, seen) in enumerate(walk)
    ]
    scene = Scene(known)
    live = run(poses, scene)
    scene.reset()
    assert run(poses, scene) == live == run(poses, Scene(known))
