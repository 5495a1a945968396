"""Angles, in degrees, in the coordinates of the image: x to the right, y down."""

from __future__ import annotations

from math import atan2, degrees, nan, remainder


def heading(dx: float, dy: float) -> float:
    """Return the direction of a vector in (-180, 180]: 0 to the right, 90 down, -90 up; NaN for one of no length."""
    if dx == 0.0 and dy == 0.0:
        return nan
    return degrees(atan2(dy, dx))


def joint_angle(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> float:
    """Return the angle at ``b`` between the directions to ``a`` and to ``c``, in [0, 180]; NaN where one lies on it."""
    ux, uy, vx, vy = ax - bx, ay - by, cx - bx, cy - by
    if (ux == 0.0 and uy == 0.0) or (vx == 0.0 and vy == 0.0):
        return nan
    # Of cross and dot product, since acos of the latter alone loses half of the digits near 0 and 180.
    return degrees(atan2(abs(ux * vy - uy * vx), ux * vx + uy * vy))


def wrapped(angle: float) -> float:
    """Return the same direction in [-180, 180]; NaN for what is not finite."""
    return remainder(angle, 360.0) if angle - angle == 0.0 else nan
