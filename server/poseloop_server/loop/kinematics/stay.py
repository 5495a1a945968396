"""In a zone or not, and since when."""

from __future__ import annotations

from math import nan

from poseloop_server.loop.kinematics.points import Point
from poseloop_server.loop.kinematics.timeline import GAP_S, Timeline
from poseloop_server.loop.shapes import Shape


class Stay:
    """Whether a point is in a zone, and for how long it has been in or out of it.

    A stay begins at the first pose at which the point was seen there. It goes on while the point is missing, but for
    `GAP_S` at most: seen again later, it begins anew. While the point is missing everything here is unknown.

    Attributes:
        inside: at the pose at hand; None where the point is missing.
    """

    def __init__(self, timeline: Timeline, point: Point, shape: Shape) -> None:
        self._timeline = timeline
        self._point = point
        self._shape = shape
        self.inside: bool | None = None
        self._side: bool | None = None  # where it was last seen
        self._seen = 0.0  # when
        self._since = 0.0  # since when it has been on that side
        self._was_inside = False

    def update(self) -> None:
        """Look where the point now is."""
        x = self._point.x
        if x != x:
            self.inside = None
            return
        now = self._timeline.now
        self.inside = inside = self._shape.contains(x, self._point.y)
        if inside is not self._side or abs(now - self._seen) > GAP_S:
            self._since = now
        self._since = min(self._since, now)  # time may have gone back
        self._side = inside
        self._seen = now
        self._was_inside = self._was_inside or inside

    def time_in(self) -> float:
        """Return the seconds since it was first seen inside; 0 while it is outside."""
        if self.inside is None:
            return nan
        return self._timeline.now - self._since if self.inside else 0.0

    def time_since_left(self) -> float:
        """Return the seconds since it was first seen outside again; 0 while it is inside, NaN if it never was."""
        if self.inside is None or not self._was_inside:
            return nan
        return 0.0 if self.inside else self._timeline.now - self._since
