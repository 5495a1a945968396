"""Lets so many frames a second through, by when they were captured.

The virtual scheduling algorithm of ITU-T I.371: each frame that is let through moves the time at which the next one is
due by one interval, and a frame may come a little early, since cameras are not exact.
"""

from __future__ import annotations

_EARLY = 0.25  # of the interval


class RateLimit:
    """The limit of one stream; used by one thread.

    Of frames in the order of their capture, any ``n`` that are let through span at least ``n - 1.25`` intervals; and
    a camera no faster than the limit, whose jitter spans no more than a quarter of the interval, loses none.
    """

    def __init__(self, frames_per_second: float) -> None:
        self._interval_ns = round(1e9 / frames_per_second)
        self._early_ns = round(self._interval_ns * _EARLY)
        self._latest_ns: int | None = None
        self._due_ns = 0

    def admits(self, captured_ns: int) -> bool:
        """Tell whether a frame goes through; one that was captured before the last begins a new count of time."""
        if self._latest_ns is None or captured_ns < self._latest_ns:
            self._due_ns = captured_ns
        self._latest_ns = captured_ns
        if captured_ns < self._due_ns - self._early_ns:
            return False
        self._due_ns = max(self._due_ns, captured_ns) + self._interval_ns
        return True
