"""How fast: velocities, turn rates and the slopes of other quantities, each from a `Window` of the latest poses."""

from __future__ import annotations

from collections.abc import Callable
from math import hypot, isnan, nan

from poseloop_server.loop.kinematics.angles import heading, wrapped
from poseloop_server.loop.kinematics.points import Point, Track
from poseloop_server.loop.kinematics.timeline import Timeline, Window

_LARGEST = 1e100  # beyond, a sum of products could overflow


class Velocity:
    """Of a point, per second, in units of its coordinates; NaN where it is missing or was not there just before."""

    def __init__(self, track: Track, window: Window) -> None:
        self._track = track
        self._window = window
        self.x = nan
        self.y = nan

    def update(self) -> None:
        """Compute it for the pose at hand."""
        self.x = self._window.slope(self._track.xs)
        self.y = self._window.slope(self._track.ys)

    def speed(self) -> float:
        """Return the length of the vector."""
        return hypot(self.x, self.y)


class TurnRate:
    """How fast the direction from one point to another turns, in degrees per second; positive is from x to y.

    Directions are unwrapped before the slope is taken: from each to the next the shorter way is assumed.
    """

    def __init__(self, timeline: Timeline, window: Window, keep_s: float, start: Point, end: Point) -> None:
        self._column = timeline.column(keep_s)
        self._window = window
        self._start = start
        self._end = end
        self._latest = nan  # unwrapped

    def __call__(self) -> float:
        """Return it for the pose at hand."""
        direction = heading(self._end.x - self._start.x, self._end.y - self._start.y)
        if not isnan(direction):
            latest = self._latest
            self._latest = direction = direction if isnan(latest) else latest + wrapped(direction - latest)
        self._column.append(direction)
        return self._window.slope(self._column)


class Rate:
    """How fast any quantity grows, per second."""

    def __init__(self, timeline: Timeline, window: Window, keep_s: float, quantity: Callable[[], float]) -> None:
        self._column = timeline.column(keep_s)
        self._window = window
        self._quantity = quantity

    def __call__(self) -> float:
        """Return it for the pose at hand."""
        value = self._quantity()
        self._column.append(value if abs(value) < _LARGEST else nan)
        return self._window.slope(self._column)
