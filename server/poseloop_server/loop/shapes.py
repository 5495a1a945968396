"""Circles and polygons: what is inside, and how far away. The border belongs to a shape.

Scalars, not arrays: for the few points of a pose a call into NumPy costs more than the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

Place = tuple[float, float]


class Shape(Protocol):
    """A closed region of the plane."""

    center: Place
    """The centre of a circle, the centroid of a polygon."""

    def contains(self, x: float, y: float) -> bool:
        """Return whether the point is inside or on the border; neither may be NaN."""

    def distance(self, x: float, y: float) -> float:
        """Return the distance to the border: positive outside, 0 on it, negative inside."""


class Circle:
    """All points within ``radius`` of the centre."""

    def __init__(self, x: float, y: float, radius: float) -> None:
        self.center = (x, y)
        self.radius = radius

    def contains(self, x: float, y: float) -> bool:
        """Return whether the point is inside or on the border."""
        return math.hypot(x - self.center[0], y - self.center[1]) <= self.radius

    def distance(self, x: float, y: float) -> float:
        """Return the distance to the border, negative inside."""
        return math.hypot(x - self.center[0], y - self.center[1]) - self.radius


class Polygon:
    """What a closed line that does not cross itself encloses.

    Args:
        corners: in order, without the first one again at the end.
    """

    def __init__(self, corners: Sequence[Place]) -> None:
        self.corners = tuple(corners)
        self.center = _centroid(self.corners)
        following = (*self.corners[1:], self.corners[0])
        self._sides = tuple((*a, *b) for a, b in zip(self.corners, following, strict=True))
        self._ways = tuple((ax, ay, bx - ax, by - ay) for ax, ay, bx, by in self._sides)
        xs, ys = zip(*self.corners, strict=True)
        self._box = (min(xs), min(ys), max(xs), max(ys))

    def contains(self, x: float, y: float) -> bool:
        """Return whether the point is inside or on the border: the sides that a ray to the right crosses are odd."""
        left, top, right, bottom = self._box
        if not (left <= x <= right and top <= y <= bottom):
            return False
        inside = False
        for ax, ay, bx, by in self._sides:
            cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
            # The side's lower end counts and its upper one does not, so a corner on the ray is crossed once or twice.
            if (ay > y) != (by > y):
                if cross == 0.0:
                    return True
                if (cross < 0.0) != (by < ay):
                    inside = not inside
            elif cross == 0.0 and min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by):
                return True
        return inside

    def distance(self, x: float, y: float) -> float:
        """Return the distance to the border, negative inside."""
        nearest = math.inf  # squared
        for ax, ay, dx, dy in self._ways:
            px, py = x - ax, y - ay
            along = (px * dx + py * dy) / (dx * dx + dy * dy)
            if along >= 1.0:
                px, py = px - dx, py - dy
            elif along > 0.0:
                px, py = px - along * dx, py - along * dy
            apart = px * px + py * py
            if apart < nearest:
                nearest = apart
        return -math.sqrt(nearest) if self.contains(x, y) else math.sqrt(nearest)


def area_of(corners: Sequence[Place]) -> float:
    """Return the area that a line around these corners encloses, positive if it goes clockwise in an image."""
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in _pairs(corners)) / 2


def are_in_line(corners: Sequence[Place]) -> bool:
    """Return whether one straight line goes through all of them."""
    return all(abs(_turn(corners[0], corners[1], corner)) <= 1e-12 for corner in corners)


def crossing_of(corners: Sequence[Place]) -> tuple[int, int] | None:
    """Return two sides, by the index of their first corner, that meet where they should not; None if none do."""
    sides = _pairs(corners)
    count = len(sides)
    for first in range(count):
        for second in range(first + 1, count):
            if second == first + 1 or (first == 0 and second == count - 1):
                ahead, behind = (first, second) if second == first + 1 else (second, first)
                if _folds_back(sides[ahead], sides[behind][1]):
                    return ahead, behind
            elif _meet(*sides[first], *sides[second]):
                return first, second
    return None


def _pairs(corners: Sequence[Place]) -> list[tuple[Place, Place]]:
    return list(zip(corners, (*corners[1:], corners[0]), strict=True))


def _turn(a: Place, b: Place, c: Place) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _folds_back(side: tuple[Place, Place], onward: Place) -> bool:
    """Whether the next side, which ends in ``onward``, lies over this one."""
    a, b = side
    back = (onward[0] - b[0]) * (a[0] - b[0]) + (onward[1] - b[1]) * (a[1] - b[1])
    return _turn(a, b, onward) == 0.0 and back > 0


def _meet(a: Place, b: Place, c: Place, d: Place) -> bool:
    """Whether two sides have a point in common."""
    abc, abd, cda, cdb = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    if (abc > 0) != (abd > 0) and (cda > 0) != (cdb > 0) and abc and abd and cda and cdb:
        return True
    ends = ((abc, a, b, c), (abd, a, b, d), (cda, c, d, a), (cdb, c, d, b))
    return any(turn == 0.0 and _within(start, end, point) for turn, start, end, point in ends)


def _within(a: Place, b: Place, point: Place) -> bool:
    return min(a[0], b[0]) <= point[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= point[1] <= max(a[1], b[1])


def _centroid(corners: Sequence[Place]) -> Place:
    # About the first corner, so that a small polygon far from the origin loses no digits.
    x0, y0 = corners[0]
    moved = [(x - x0, y - y0) for x, y in corners]
    area = area_of(moved)
    x = sum((a[0] + b[0]) * (a[0] * b[1] - b[0] * a[1]) for a, b in _pairs(moved))
    y = sum((a[1] + b[1]) * (a[0] * b[1] - b[0] * a[1]) for a, b in _pairs(moved))
    return (x0 + x / (6 * area), y0 + y / (6 * area))
