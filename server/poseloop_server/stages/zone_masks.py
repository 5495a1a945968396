"""Which pixels of a frame lie in a zone: those whose centre does, as `Shape.contains` has it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poseloop_server.loop.shapes import Circle, Polygon, Shape

Axis = NDArray[np.float64]
Mask = NDArray[np.bool_]


def mask_of(shape: Shape, width: int, height: int) -> Mask:
    """Return bool ``(height, width)``, true where the pixel's centre is inside the shape or on its border."""
    mask = np.zeros((height, width), bool)
    if isinstance(shape, Circle):
        (x, y), radius = shape.center, shape.radius
        columns, rows = _between(x - radius, x + radius, width), _between(y - radius, y + radius, height)
        mask[np.ix_(rows, columns)] = np.hypot(columns - x, rows[:, None] - y) <= radius
    elif isinstance(shape, Polygon):
        xs, ys = zip(*shape.corners, strict=True)
        columns, rows = _between(min(xs), max(xs), width), _between(min(ys), max(ys), height)
        mask[np.ix_(rows, columns)] = _in_polygon(shape, columns.astype(np.float64), rows[:, None].astype(np.float64))
    else:
        raise TypeError(f"no mask is known of a {type(shape).__name__}")
    return mask


def _between(least: float, most: float, size: int) -> NDArray[np.int64]:
    """Return the pixels of an axis that are near enough to be inside."""
    return np.arange(max(0, int(least) - 1), min(size, int(most) + 2))


def _in_polygon(polygon: Polygon, x: Axis, y: Axis) -> Mask:
    """Count, for all pixels at once, the sides that a ray to the right crosses: `Polygon.contains` by the same sums."""
    inside = np.zeros((len(y), x.size), bool)
    border = np.zeros_like(inside)
    for (ax, ay), (bx, by) in zip(polygon.corners, (*polygon.corners[1:], polygon.corners[0]), strict=True):
        cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        spans = (ay > y) != (by > y)
        inside ^= spans & ((cross < 0.0) != (by < ay))
        beside = (min(ax, bx) <= x) & (x <= max(ax, bx)) & (min(ay, by) <= y) & (y <= max(ay, by))
        border |= (cross == 0.0) & (spans | beside)
    left, right = min(x for x, _ in polygon.corners), max(x for x, _ in polygon.corners)
    return (inside | border) & (left <= x) & (x <= right)
