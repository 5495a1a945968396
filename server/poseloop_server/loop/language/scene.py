"""What expressions see: the quantities that they need, measured once at each pose of a stream."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from math import nan
from typing import TypeVar

from poseloop_server.loop.kinematics.motion import Velocity
from poseloop_server.loop.kinematics.points import Center, Point, Track
from poseloop_server.loop.kinematics.stay import Stay
from poseloop_server.loop.kinematics.timeline import Timeline, Window
from poseloop_server.loop.language.names import Measure, Names, Value
from poseloop_server.loop.pose import LoopPose
from poseloop_server.loop.shapes import Shape

T = TypeVar("T")
PointKey = tuple[str, ...] | str
"""The keypoints whose centre it is; or a zone, whose centre it is."""


class Scene:
    """Measures what the expressions compiled with ``names`` ask for, for one stream.

    `update` once per pose, then evaluate expressions as often as wanted. What is kept depends on the poses alone.
    Another size of the frames begins anew, as `reset` does, since it moves zones and keypoints.

    Attributes:
        slots: what was measured at the pose at hand, as expressions look it up.
        timeline: of the poses.
        given: the values that stages added to the pose at hand.
        outside: zones that expressions ask for and that lie outside the frames; found whenever their size changes.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._scale = names.scale
        self.slots: list[Value] = []
        self.given: dict[str, float] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what came before."""
        self.timeline = Timeline()
        self._size = (0, 0)
        self._pose_names: tuple[str, ...] = ()
        self._shared: dict[Hashable, object] = {}
        self._points: dict[str, Point] = {}
        self._rows: list[tuple[int, Point]] = []
        self._steps: list[Callable[[], None]] = []
        self._measures: list[Measure] = []
        self.slots[:] = self._names.plan.blanks
        self._used: set[str] = set()
        self.outside: list[str] = []

    def update(self, pose: LoopPose) -> None:
        """Measure everything at this pose."""
        plan = self._names.plan
        if (pose.width, pose.height) != self._size or len(self._measures) != len(plan.makers):
            self._begin(pose)
        if pose.names != self._pose_names:
            self._find_rows(pose.names)
        self.timeline.advance(pose.time_ns)
        self.given = pose.values
        self._place(pose)
        for step in self._steps:
            step()
        slots = self.slots
        for index, measure in enumerate(self._measures):
            slots[index] = measure()

    def _place(self, pose: LoopPose) -> None:
        scale = self._scale
        if len(pose.keypoints):
            instance = pose.keypoints[0].tolist()
            for row, point in self._rows:
                x, y, confidence = instance[row]
                if x - x == 0.0 and y - y == 0.0:  # both are finite
                    point.x, point.y, point.confidence = x * scale, y * scale, confidence
                else:
                    point.x = point.y = point.confidence = nan
        else:
            for _, point in self._rows:
                point.x = point.y = point.confidence = nan

    def _begin(self, pose: LoopPose) -> None:
        self.reset()
        self._size = (pose.width, pose.height)
        self._measures = [make(self) for make in self._names.plan.makers]
        self.outside = [zone for zone in self._used if self._names.zones[zone].is_outside(*self._size)]

    def _find_rows(self, names: tuple[str, ...]) -> None:
        """Look up where the keypoints stand in poses with these names; one that is not there is missing."""
        self._pose_names = names
        for point in self._points.values():
            point.x = point.y = point.confidence = nan
        self._rows = [(names.index(name), point) for name, point in self._points.items() if name in names]

    # What measures are made of; everything is made once and updated in the order in which it was made.

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._shared:
            made = make()
            self._shared[key] = made
            if (update := getattr(made, "update", None)) is not None:
                self._steps.append(update)
        return self._shared[key]  # type: ignore[return-value]

    def point(self, key: PointKey) -> Point:
        """Return the keypoint or centre of this key, to be read at each pose."""
        if isinstance(key, str):
            center = self.shape(key).center
            return self._once(("zone centre", key), lambda: Point(*center, 1.0))
        if len(key) == 1:
            return self._points.setdefault(key[0], Point())
        points = [self.point((name,)) for name in key]
        return self._once(("centre", key), lambda: Center(points))

    def shape(self, zone: str) -> Shape:
        """Return the zone of this name in the frames at hand, in the unit of lengths."""
        config = self._names.zones[zone]
        self._used.add(zone)
        return self._once(("shape", zone), lambda: config.shape(*self._size, self._scale))

    def track(self, key: PointKey, keep_s: float) -> Track:
        """Return the latest places of a point."""
        point = self.point(key)
        return self._once(("track", key, keep_s), lambda: Track(self.timeline, point, keep_s))

    def window(self, seconds: float) -> Window:
        """Return the means to take slopes over that time."""
        return self._once(("window", seconds), lambda: Window(self.timeline, seconds))

    def velocity(self, key: PointKey, seconds: float) -> Velocity:
        """Return the velocity of a point."""
        track, window = self.track(key, seconds), self.window(seconds)
        return self._once(("velocity", key, seconds), lambda: Velocity(track, window))

    def stay(self, key: PointKey, zone: str) -> Stay:
        """Return whether and since when a point is in a zone."""
        point, shape = self.point(key), self.shape(zone)
        return self._once(("stay", key, zone), lambda: Stay(self.timeline, point, shape))

    def bound(self, run: Callable[[list[Value]], T]) -> Callable[[], T]:
        """Return a compiled part as a quantity of this scene."""
        return partial(run, self.slots)
