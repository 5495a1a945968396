"""Nothing that is measured on a missing keypoint makes a condition true."""

from __future__ import annotations

from math import isnan
from typing import Any

import pytest

from tests.server.loop.scenes import evaluated, names, pose

MEASURES = (
    *("x({})", "y({})", "confidence({})", "distance({}, neck)", "distance(neck, {})", "angle(neck, {}, tailbase)"),
    *("heading({}, neck)", "angle_between(heading(neck, {}), 10 deg)", "turn_rate({}, neck)", "velocity_x({})"),
    *("velocity_y({})", "speed({}, 1 s)", "moved({}, 40 ms)", "time_in({}, corner)", "time_since_left({}, corner)"),
    *("distance_to({}, corner)", "mean(x({}), 20 ms)", "rate(x({}))", "abs(x({}))", "sqrt(confidence({}))"),
    *("max(x({}), x(neck))", "min(x(neck), x({}))", "x(center({}, neck))", "-x({}) / x(neck)", "x({}) - x({})"),
)
OTHERS = {"neck": (20, 20), "left ear": (30, 15), "tailbase": (40, 30)}
SEEN = [pose(n / 100, {"snout": (45 + 2 * n, 10), **OTHERS}, {"energy": 1.0}) for n in range(8)]  # leaves the corner
SEEN += [pose(0.08 + n / 100, {"snout": (59 - 3 * n, 10), **OTHERS}, {"energy": 1.0}) for n in range(8)]  # and is back
GONE = pose(0.16, OTHERS, {"energy": 1.0})


def after(text: str, *more: Any) -> Any:
    return evaluated(text, [*SEEN, *more], names(values=["energy"]))[-1]


@pytest.mark.parametrize("measure", MEASURES)
def test_it_is_known_while_the_keypoint_is_seen_and_not_when_it_is_gone(measure: str) -> None:
    text = measure.replace("{}", "snout")
    assert not isnan(after(text))
    assert isnan(after(text, GONE))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("operator", ["<", "<=", ">", ">=", "==", "!="])
def test_a_missing_keypoint_makes_no_comparison_true(measure: str, operator: str) -> None:
    text = f"{measure.replace('{}', 'snout')} {operator} {'0 s' if 'time' in measure else '0'}"
    for condition in (text, f"not ({text})", f"({text}) and energy == 1", f"({text}) or energy != 1"):
        assert after(condition) is not None
        assert after(condition, GONE) is None, condition
