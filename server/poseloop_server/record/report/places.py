"""Where keypoints were: how often in each part of the frame, and how long in each zone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from poseloop_server.loop.shapes import Circle, Polygon, Shape
from poseloop_server.loop.zones import ZoneConfig
from poseloop_server.record.entries import Header, PoseEntry

MOST_KEYPOINTS: Final = 4
LEAST_CONFIDENCE: Final = 0.5
MOST_FIRED: Final = 2000
GRID: Final = 120
"""Cells of the map along the frame's longer side."""
_BLOCK: Final = 4096
USUAL_INTERVALS: Final = 3
"""A pose stands for the time until the next one, for as many of its stream's usual intervals at most ..."""
LEAST_LONGEST_S: Final = 0.5
"""... or for so long where that is more."""
_FEW: Final = 10
"""Of fewer intervals none is usual."""

Array = NDArray[np.float64]


class PlacesOf:
    """What a log's configuration says of places; what can't be read in it is left out.

    Args:
        header: of the log.
    """

    def __init__(self, header: Header) -> None:
        values = header.configuration.get("values", {})
        streams = values.get("streams", {}) if isinstance(values, dict) else {}
        self._streams: Mapping[str, Any] = streams if isinstance(streams, dict) else {}

    def triggers(self, stream: str) -> tuple[str, ...]:
        """Return the triggers of a stream."""
        return tuple(self._section(stream, "triggers"))

    def stream(self, stream: str, names: tuple[str, ...]) -> Places:
        """Return the places of a stream, empty."""
        texts = [str(text) for text in self._section(stream, "quantities").values()]
        for trigger in self._section(stream, "triggers").values():
            texts += [str(trigger.get(key) or "") for key in ("when", "until")]
        words = {word for text in texts for word in re.findall(r"\w+", text)}
        shown = [name for name in names if name in words] or list(names)
        return Places(names, tuple(shown[:MOST_KEYPOINTS]), self._zones(stream))

    def _zones(self, stream: str) -> dict[str, ZoneConfig]:
        zones = {}
        for name, zone in self._section(stream, "zones").items():
            try:
                zones[name] = ZoneConfig.model_validate(zone)
            except ValidationError:
                continue
        return zones

    def _section(self, stream: str, key: str) -> dict[str, Any]:
        config = self._streams.get(stream, self._streams.get("*", {}))
        section = config.get(key, {}) if isinstance(config, dict) else {}
        return section if isinstance(section, dict) else {}


class Places:
    """Of the first instance's keypoints in one stream, after the stages; those of less confidence are left out.

    Args:
        names: of all keypoints.
        shown: of those that are looked at.
        zones: of the stream.

    Attributes:
        size: of the frame in pixels; poses of other sizes than the first one's are left out.
        maps: by keypoint, seconds in each cell, ``(rows, columns)`` over the whole frame.
        seconds: by keypoint, how long it was seen.
        inside: by zone and keypoint, how many seconds of those it was inside.
        entries: by zone and keypoint, how often it came in.
        fired: by keypoint, where it was when a trigger fired, as x, y; of the first `MOST_FIRED` times.
    """

    def __init__(self, names: tuple[str, ...], shown: tuple[str, ...], zones: Mapping[str, ZoneConfig]) -> None:
        self.names = names
        self.shown = shown
        self.zones = zones
        self.shapes: dict[str, Shape] = {}
        self.size = (0, 0)
        self.maps: dict[str, Array] = {}
        self.seconds = dict.fromkeys(shown, 0.0)
        self.inside = {zone: dict.fromkeys(shown, 0.0) for zone in zones}
        self.entries = {zone: dict.fromkeys(shown, 0) for zone in zones}
        self.fired: dict[str, list[tuple[float, float]]] = {name: [] for name in shown}
        self._was_inside: dict[tuple[str, str], bool] = {}
        self._points: list[NDArray[np.float32]] = []
        self._times: list[int] = []
        self._intervals: NDArray[np.int64] = np.empty(0, np.int64)  # of the block before, for what is usual

    def add(self, entry: PoseEntry) -> None:
        """Take in a pose. Raises ValueError where its keypoints can't be read."""
        points = entry.staged_points(len(self.names))
        if self.size == (0, 0):
            self._begin(entry.width, entry.height)
        if (entry.width, entry.height) != self.size or not len(points):
            return
        self._points.append(points[0])
        self._times.append(entry.captured_ns)
        if len(self._times) > _BLOCK:
            self._reduce()

    def mark_fired(self) -> None:
        """Note where the last pose's keypoints are: something fired at it."""
        for name, places in self.fired.items():
            if self._points and len(places) < MOST_FIRED:
                x, y, _ = self._points[-1][self.names.index(name)].tolist()
                places.append((x, y))

    def finish(self) -> None:
        """Take in the last pose, after which none comes."""
        if self._times:
            self._points.append(self._points[-1])
            self._times.append(self._times[-1])
            self._reduce()
        self._points, self._times = [], []

    def _begin(self, width: int, height: int) -> None:
        self.size = (width, height)
        cell = max(width, height, 1) / GRID
        shape = (max(1, round(height / cell)), max(1, round(width / cell)))
        self.maps = {name: np.zeros(shape) for name in self.shown}
        self.shapes = {name: zone.shape(width, height) for name, zone in self.zones.items()}

    def _reduce(self) -> None:
        """Add all poses but the last one, whose duration is not known yet."""
        times = np.array(self._times, np.int64)
        intervals = times[1:] - times[:-1]
        seconds = np.clip(intervals / 1e9, 0, self._longest_s(intervals))
        block = np.array(self._points[:-1], np.float64)
        for name in self.shown:
            x, y, confidence = block[:, self.names.index(name)].T
            seen = np.isfinite(x) & np.isfinite(y) & (confidence >= LEAST_CONFIDENCE)
            self._reduce_keypoint(name, x[seen], y[seen], seconds[seen])
        self._points, self._times = self._points[-1:], self._times[-1:]

    def _longest_s(self, intervals: NDArray[np.int64]) -> float:
        """Return how long a pose may stand for, as a pause is no time that an animal was seen in."""
        near = np.concatenate([self._intervals, intervals])
        self._intervals = intervals
        near = near[near > 0]
        if near.size < _FEW:
            return LEAST_LONGEST_S
        return max(LEAST_LONGEST_S, USUAL_INTERVALS * float(np.median(near)) / 1e9)

    def _reduce_keypoint(self, name: str, x: Array, y: Array, seconds: Array) -> None:
        width, height = self.size
        self.seconds[name] += float(seconds.sum())
        edges = ((-0.5, height - 0.5), (-0.5, width - 0.5))
        cells = self.maps[name]
        cells += np.histogram2d(y, x, bins=cells.shape, range=edges, weights=seconds)[0]
        for zone, shape in self.shapes.items():
            within = inside(shape, x, y)
            self.inside[zone][name] += float(seconds[within].sum())
            before = self._was_inside.get((zone, name), False)
            self.entries[zone][name] += int((within & ~np.concatenate([[before], within[:-1]])).sum()) if x.size else 0
            if x.size:
                self._was_inside[zone, name] = bool(within[-1])


def inside(shape: Shape, x: Array, y: Array) -> NDArray[np.bool_]:
    """Return which points lie in a shape; a polygon's border may count as either."""
    if isinstance(shape, Circle):
        return np.hypot(x - shape.center[0], y - shape.center[1]) <= shape.radius
    found = np.zeros(x.shape, np.bool_)
    if not isinstance(shape, Polygon):
        return found
    corners = shape.corners
    for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
        if ay != by:
            crosses = ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
            found ^= crosses
    return found
