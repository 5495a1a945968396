"""Units: what may stand beside what, and that they all mean the same length or time."""

from __future__ import annotations

import pytest

from tests.server.loop.scenes import evaluated, names, pose

# In 1 s the snout goes 40 px = 5 cm to the right, all of it in the corner.
MOVING = [pose(n / 10, {"snout": (5 + 4 * n, 10), "neck": (5, 10)}) for n in range(11)]


@pytest.mark.parametrize(
    "text",
    [
        "speed(snout) > 39.9 px/s and speed(snout) < 40.1",
        "speed(snout) > 4.9 cm/s and speed(snout) < 5.1 cm/s",
        "speed(snout) > 49 mm/s and speed(snout) < 51 mm/s",
        "distance(snout, neck) == 40 px and distance(snout, neck) == 5 cm and distance(snout, neck) == 50mm",
        "time_in(snout, corner) > 999 ms and time_in(snout, corner) < 0.017 min",
        "heading(neck, snout) == 0 deg and heading(neck, snout) == 0",
        "distance(snout, neck) / 1 s > 39 px/s",
        "distance(snout, neck) * distance(snout, neck) > 3 * 8 * 3",
        "sqrt(distance(snout, neck) * 40 px) > 39 px",
        "rate(speed(snout), 200 ms) < 1 px/s2",
        "1 cm == 8 px and 1 s == 1000 ms and 10 mm == 1 cm and 1 min == 60 s",
    ],
)
def test_units_mean_the_same(text: str) -> None:
    assert evaluated(text, MOVING, names(pixels_per_cm=8.0))[-1] is True


def test_a_plain_number_is_in_the_unit_of_the_stream() -> None:
    known = names(pixels_per_cm=8.0, unit="cm")
    assert evaluated("x(snout) == 45 px and x(snout) < 6 and distance(snout, neck) == 5", MOVING, known)[-1] is True
