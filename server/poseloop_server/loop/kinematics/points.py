"""Where something is in the pose at hand: a keypoint, or the centre of several."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan

from poseloop_server.loop.kinematics.timeline import Column, Timeline


class Point:
    """A place that is set anew for each pose; x, y and confidence are NaN together where it is missing."""

    __slots__ = ("confidence", "x", "y")

    def __init__(self, x: float = nan, y: float = nan, confidence: float = nan) -> None:
        self.x = x
        self.y = y
        self.confidence = confidence


class Center(Point):
    """The mean of several points, missing where one of them is: it must not jump when one is lost.

    Its confidence is the lowest of theirs.
    """

    __slots__ = ("_points",)

    def __init__(self, points: Sequence[Point]) -> None:
        super().__init__()
        self._points = tuple(points)

    def update(self) -> None:
        """Compute it from the points as they now are."""
        x = y = 0.0
        confidence = inf
        for point in self._points:
            x += point.x
            y += point.y
            if point.confidence < confidence or point.confidence != point.confidence:
                confidence = point.confidence
        count = len(self._points)
        self.x, self.y = x / count, y / count
        self.confidence = confidence if x == x else nan


class Track:
    """The places of a point at the poses of a timeline, as columns of x and y."""

    def __init__(self, timeline: Timeline, point: Point, keep_s: float) -> None:
        self._point = point
        self.xs: Column = timeline.column(keep_s)
        self.ys: Column = timeline.column(keep_s)

    def update(self) -> None:
        """Note where the point now is."""
        self.xs.append(self._point.x)
        self.ys.append(self._point.y)
