"""What happened over a stated time: a mean, a displacement. Unknown until the stream has been seen for as long."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import hypot, isnan, nan

from poseloop_server.loop.kinematics.points import Point, Track
from poseloop_server.loop.kinematics.timeline import GAP_S, TOLERANCE_S, Timeline

_FINEST = 2.0**-40  # a mean is exact to this
_LARGEST = 1e100


class Mean:
    """The mean of a quantity at the poses of the latest ``seconds``, each of the same weight.

    What was missing is left out; the mean is NaN where the quantity is missing at the pose at hand, or was at more than
    half of the poses. The sum is kept in whole multiples of 2^-40, so that adding and taking away leaves no error,
    and a long window costs no more than a short one.
    """

    def __init__(self, timeline: Timeline, seconds: float, quantity: Callable[[], float]) -> None:
        self._timeline = timeline
        self._seconds = seconds
        self._quantity = quantity
        self._samples: deque[tuple[float, int | None]] = deque()
        self._sum = 0
        self._known = 0

    def __call__(self) -> float:
        """Return it for the pose at hand."""
        now = self._timeline.now
        samples = self._samples
        while samples and samples[-1][0] >= now:
            self._take(samples.pop()[1])
        value = self._quantity()
        known = abs(value) < _LARGEST
        whole = round(value / _FINEST) if known else None
        samples.append((now, whole))
        if whole is not None:
            self._sum += whole
            self._known += 1
        oldest = now - self._seconds - TOLERANCE_S
        while samples[0][0] < oldest:
            self._take(samples.popleft()[1])
        if not known or 2 * self._known < len(samples) or now + TOLERANCE_S < self._seconds:
            return nan
        return self._sum / self._known * _FINEST

    def _take(self, whole: int | None) -> None:
        if whole is not None:
            self._sum -= whole
            self._known -= 1


class Displacement:
    """How far a point is from where it was ``seconds`` ago, that place being interpolated between two poses.

    NaN where it is missing now, or was at either of the two, or these are more than `GAP_S` apart.
    """

    def __init__(self, timeline: Timeline, track: Track, point: Point, seconds: float) -> None:
        self._times = timeline.times
        self._timeline = timeline
        self._track = track
        self._point = point
        self._seconds = seconds

    def __call__(self) -> float:
        """Return it for the pose at hand."""
        times = self._times
        then = self._timeline.now - self._seconds
        after = self._timeline.since(self._seconds)
        xs, ys = self._track.xs, self._track.ys
        if times[after] - then <= TOLERANCE_S:
            return hypot(self._point.x - xs[after], self._point.y - ys[after])
        if after == 0 or isnan(self._point.x) or times[after] - times[after - 1] > GAP_S:
            return nan
        part = (then - times[after - 1]) / (times[after] - times[after - 1])
        x = xs[after - 1] + part * (xs[after] - xs[after - 1])
        y = ys[after - 1] + part * (ys[after] - ys[after - 1])
        return hypot(self._point.x - x, self._point.y - y)
