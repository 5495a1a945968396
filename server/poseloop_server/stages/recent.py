"""The sightings of the last few milliseconds."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from poseloop_server.stages.filtering import Array, Sight

MOST_POSES: Final = 256  # in one window, however close their times


class Recent:
    """What was seen within a window of time that ends with the latest pose.

    Attributes:
        times_ns: of the poses in the window, oldest first.
        points: float64 ``(poses, n, 2)``: their sightings, NaN where there was none.
    """

    def __init__(self, window_ns: int, count: int, at_least: int = 1) -> None:
        """Hold ``count`` keypoints for ``window_ns``, and at least so many poses."""
        self.times_ns: deque[int] = deque()
        self.points: Array = np.empty((0, count, 2))
        self._window_ns = window_ns
        self._at_least = at_least

    def take_in(self, sight: Sight) -> Array:
        """Add a pose and return all points; what was seen of a keypoint before it started anew is left out."""
        times, outdated = self.times_ns, 0
        times.append(sight.now_ns)
        while len(times) > MOST_POSES or (len(times) > self._at_least and sight.now_ns - times[0] > self._window_ns):
            times.popleft()
            outdated += 1
        kept = self.points[outdated:]
        if sight.fresh.any():
            kept[:, sight.fresh] = np.nan
        seen = np.where(sight.seen[:, None], sight.points, np.nan)
        self.points = np.concatenate([kept, seen[None]])
        return self.points
