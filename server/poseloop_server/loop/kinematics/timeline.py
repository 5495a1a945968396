"""The times of a stream's poses, and what was measured at them, kept for as long as anything asks back."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import fsum, isnan, nan
from operator import mul

GAP_S = 0.5
TOLERANCE_S = 1e-6  # frames that are 10 ms apart are in the same window of 50 ms, whatever the sixth digit says
_SLACK = 128  # samples that may lie about before those too old are cut off together

Column = list[float]


class Timeline:
    """Times in seconds since the first pose, and columns of as many numbers beside them.

    Each pose is first announced by `advance`, then every column gets its number for it. A time that is not later than
    those before it, as a changing prediction may give, replaces those it does not follow; if that is all of them the
    timeline begins anew.

    Attributes:
        times: ascending; the last one is that of the pose at hand.
        now: the last of them.
        connected: index of the first pose from which on no two were more than `GAP_S` apart.
    """

    def __init__(self) -> None:
        self.times: Column = []
        self.now = 0.0
        self.connected = 0
        self._start_ns = 0
        self._columns: list[Column] = [self.times]
        self._keep_s = 0.0
        self._cut_at = _SLACK  # samples

    def column(self, keep_s: float) -> Column:
        """Return a new column, of which the numbers of at least the latest ``keep_s`` seconds are kept."""
        column: Column = []
        self._columns.append(column)
        self._keep_s = max(self._keep_s, keep_s)
        return column

    def advance(self, time_ns: int) -> None:
        """Begin with the pose of this time."""
        times = self.times
        now = (time_ns - self._start_ns) * 1e-9
        if times and times[-1] >= now:
            self._take_back(now)
        if not times:
            self._start_ns, now = time_ns, 0.0
        self.now = now
        if times and now - times[-1] > GAP_S:
            self.connected = len(times)
        times.append(now)
        if len(times) > self._cut_at:
            self._cut()

    def since(self, seconds: float) -> int:
        """Return the index of the first pose that is no older than this."""
        return bisect_left(self.times, self.now - seconds - TOLERANCE_S)

    def _take_back(self, now: float) -> None:
        keep = bisect_left(self.times, now)
        for column in self._columns:
            del column[keep:]
        self.connected = min(self.connected, keep)

    def _cut(self) -> None:
        """Drop what is too old, and not again until there is twice as much: a column is moved as a whole."""
        old = max(0, self.since(self._keep_s + GAP_S) - 1)
        for column in self._columns:
            del column[:old]
        self.connected = max(0, self.connected - old)
        self._cut_at = max(_SLACK, 2 * len(self.times))


class Window:
    """The slope of columns over the latest poses, by least squares over their times.

    With times t and their mean m, the slope of x is sum((t - m) x) / sum((t - m)^2): so all but the x are the same for
    all columns in which nothing is missing. Where something is, the line goes through what is there, as far back as no
    two are more than `GAP_S` apart. Where the window holds only one, the one before counts as well. Where the latest is
    missing, or there is no other, the slope is NaN.
    """

    def __init__(self, timeline: Timeline, seconds: float) -> None:
        self._timeline = timeline
        self._seconds = seconds
        self._start = 0
        self._weights: list[float] = []
        self._spread = nan

    def update(self) -> None:
        """Compute what the slopes at the pose at hand have in common."""
        timeline = self._timeline
        times = timeline.times
        start = max(timeline.since(self._seconds), timeline.connected)
        if start == len(times) - 1:
            start = max(start - 1, timeline.connected)
        self._start = start
        self._weights, self._spread = _weights(times[start:])

    def slope(self, column: Column) -> float:
        """Return by how much the column grows in a second."""
        slope = fsum(map(mul, self._weights, column[self._start :])) / self._spread
        if slope == slope or isnan(column[-1]):
            return slope
        return self._patchy(column)

    def _patchy(self, column: Column) -> float:
        times = self._timeline.times
        kept_times: Column = []
        kept: Column = []
        oldest = self._timeline.now - self._seconds - TOLERANCE_S
        for index in range(len(column) - 1, self._timeline.connected - 1, -1):
            too_far = bool(kept) and kept_times[-1] - times[index] > GAP_S
            if too_far or (len(kept) > 1 and times[index] < oldest):
                break
            if not isnan(column[index]):
                kept_times.append(times[index])
                kept.append(column[index])
        weights, spread = _weights(kept_times)
        return fsum(map(mul, weights, kept)) / spread


def _weights(times: Sequence[float]) -> tuple[list[float], float]:
    """Return what to multiply samples at these times with, and what to divide the sum by for their slope.

    The latter is NaN for fewer than two.
    """
    if len(times) < 2:
        return [], nan
    mean = fsum(times) / len(times)
    apart = [time - mean for time in times]
    return apart, fsum(map(mul, apart, apart))
