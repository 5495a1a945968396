from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from poseloop_server.loop.shapes import Circle, Polygon, area_of, crossing_of
from poseloop_server.loop.zones import ZoneConfig
from pydantic import ValidationError

coordinates = st.floats(-200, 200, allow_nan=False)
places = st.tuples(coordinates, coordinates)


def star(radii: list[float]) -> tuple[tuple[float, float], ...]:
    """A polygon around (50, 40) that does not cross itself, whatever the radii."""
    turns = [2 * math.pi * index / len(radii) for index in range(len(radii))]
    return tuple((50 + r * math.cos(t), 40 + r * math.sin(t)) for r, t in zip(radii, turns, strict=True))


stars = st.lists(st.floats(5, 100), min_size=3, max_size=9).map(star)


def winding(corners: tuple[tuple[float, float], ...], x: float, y: float) -> float:
    """How often the corners go around a point: another algorithm than the one under test."""
    total = 0.0
    for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
        cross = (ax - x) * (by - y) - (ay - y) * (bx - x)
        dot = (ax - x) * (bx - x) + (ay - y) * (by - y)
        total += math.atan2(cross, dot)
    return total / (2 * math.pi)


def sampled_distance(corners: tuple[tuple[float, float], ...], x: float, y: float) -> float:
    along = np.linspace(0, 1, 2001)[:, None]
    points = np.array(corners)
    sides = [a + along * (b - a) for a, b in zip(points, np.roll(points, -1, axis=0), strict=True)]
    return min(float(np.hypot(*(side - (x, y)).T).min()) for side in sides)


@given(stars, places)
def test_a_polygon_contains_what_it_goes_around(corners: Any, place: Any) -> None:
    polygon = Polygon(corners)
    assume(abs(polygon.distance(*place)) > 1e-6)
    assert polygon.contains(*place) == (abs(winding(corners, *place)) > 0.5)


@given(stars, places)
def test_the_distance_is_that_to_the_nearest_point_of_the_border(corners: Any, place: Any) -> None:
    distance = Polygon(corners).distance(*place)
    assert abs(distance) == pytest.approx(sampled_distance(corners, *place), abs=0.1)
    assert (distance <= 0) == Polygon(corners).contains(*place)


@pytest.mark.parametrize("place", [(0, 0), (10, 0), (10, 10), (0, 10), (5, 0), (10, 5), (5, 10), (0, 5), (2.5, 2.5)])
def test_the_border_belongs_to_a_polygon(place: tuple[float, float]) -> None:
    square = Polygon(((0, 0), (10, 0), (10, 10), (0, 10)))
    triangle = Polygon(((0, 0), (10, 10), (0, 10)))
    assert square.contains(*place)
    assert triangle.contains(*place) == (place[0] <= place[1])


def test_the_border_belongs_to_a_circle() -> None:
    circle = Circle(3, 4, 5)
    assert circle.contains(0, 0)
    assert circle.distance(0, 0) == 0
    assert not circle.contains(0, -1e-9)
    assert circle.distance(3, 4) == -5


@given(stars)
def test_a_polygon_that_does_not_cross_itself_is_allowed(corners: Any) -> None:
    assert crossing_of(corners) is None
    assert ZoneConfig(polygon=corners)
    assert area_of(corners) > 0


def test_the_centre_is_the_centroid() -> None:
    ell = ((0.0, 0.0), (2.0, 0.0), (2.0, 1.0), (1.0, 1.0), (1.0, 2.0), (0.0, 2.0))
    assert Polygon(ell).center == pytest.approx((5 / 6, 5 / 6))
    far = tuple((x + 1e6, y - 1e6) for x, y in ell)
    assert Polygon(far).center == pytest.approx((1e6 + 5 / 6, -1e6 + 5 / 6), abs=1e-6)


def test_fractions_are_of_the_image_and_its_corner_is_half_a_pixel_before_the_first_centre() -> None:
    whole = ZoneConfig.model_validate(
        {"rectangle": {"left": 0, "top": 0, "right": 1, "bottom": 1}, "unit": "fraction"}
    ).shape(640, 480)
    assert isinstance(whole, Polygon)
    assert whole.corners == ((-0.5, -0.5), (639.5, -0.5), (639.5, 479.5), (-0.5, 479.5))
    circle = ZoneConfig.model_validate({"circle": {"center": [0.5, 0.25], "radius": 0.1}, "unit": "fraction"})
    shape = circle.shape(640, 480, scale=0.1)
    assert isinstance(shape, Circle)
    assert shape.center == pytest.approx((31.95, 11.95))
    assert shape.radius == pytest.approx(6.4)


def test_a_polygon_may_be_closed_by_its_first_corner() -> None:
    closed = ZoneConfig(polygon=((0, 0), (10, 0), (0, 10), (0, 0))).shape(100, 100)
    assert isinstance(closed, Polygon)
    assert len(closed.corners) == 3


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ({}, "a zone is one of circle, polygon and rectangle"),
        ({"circle": {"center": [1, 2], "radius": 3}, "polygon": [[0, 0], [9, 0], [0, 9]]}, "a zone is one of"),
        ({"polygon": [[0, 0], [9, 9]]}, "at least 3 corners and this one has 2"),
        ({"polygon": []}, "at least 3 corners and this one has 0"),
        ({"polygon": [[0, 0], [9, 9], [0, 0]]}, "at least 3 corners and this one has 2"),
        ({"polygon": [[0, 0], [9, 9], [9, 9], [0, 9]]}, "two corners in a row of the polygon are the same, [9, 9]"),
        ({"polygon": [[0, 0], [4, 4], [9, 9]]}, "has no area"),
        ({"polygon": [[0, 0], [9, 9], [9, 0], [0, 5]]}, "crosses or touches itself: its side from [0, 0] and"),
        ({"polygon": [[0, 0], [9, 0], [0, 9], [9, 9]]}, "crosses or touches itself: its side from [9, 0] and"),
        ({"polygon": [[0, 0], [9, 0], [9, 9], [4, 0], [0, 9]]}, "crosses or touches itself"),
        ({"polygon": [[0, 0], [9, 0], [4, 0], [4, 9]]}, "crosses or touches itself"),
        ({"polygon": [[0, 0], [math.nan, 0], [4, 9]]}, "finite number"),
        ({"circle": {"center": [1, math.inf], "radius": 3}}, "finite number"),
        ({"circle": {"center": [1, 2], "radius": 0}}, "greater than 0"),
        ({"circle": {"center": [1, 2], "radius": -4}}, "greater than 0"),
        ({"circle": {"center": [1, 2], "radius": 4, "colour": 1}}, "Extra inputs"),
        ({"rectangle": {"left": 9, "top": 0, "right": 3, "bottom": 4}}, "left has to be less than its right"),
        ({"circle": {"center": [100, 100], "radius": 5}, "unit": "fraction"}, "for pixels say unit: pixel"),
        ({"circle": {"center": [0.5, 0.5], "radius": 0.1}}, "for fractions say unit: fraction"),
        ({"polygon": [[0, 0], [0.5, 0], [0, 0.5]]}, "for fractions say unit: fraction"),
        ({"polygon": [[n, n * n] for n in range(501)]}, "at most 500 items"),
    ],
)
def test_what_is_no_zone_is_refused_in_a_sentence(zone: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ZoneConfig.model_validate(zone)
    (error,) = caught.value.errors()
    assert said in error["msg"]
