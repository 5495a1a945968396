"""Frames at a fixed rate, on a schedule that does not drift."""

from __future__ import annotations

import time
from collections.abc import Callable


class Schedule:
    """Moments ``start + k / frames_per_second``.

    A moment that has passed is not made up for: whoever comes late waits for the next one, so frames are never bunched
    and the rate never rises above what was asked for.
    """

    def __init__(
        self,
        frames_per_second: float,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval_s = 1.0 / frames_per_second
        self._clock = clock
        self._sleep = sleep
        self._start_s: float | None = None
        self._next = 0

    def wait(self) -> None:
        """Return at the next moment of the schedule; the first call starts it."""
        now = self._clock()
        if self._start_s is None:
            self._start_s = now
        late = now - self._start_s - self._next * self._interval_s
        if late >= self._interval_s:
            self._next += int(late / self._interval_s)
        elif late < 0:
            self._sleep(-late)
        self._next += 1
