"""When the next of a row of evenly spaced moments will come, and so when to warm up for it.

A core that rested since the last frame has lost from its caches what the next one needs, and the same lines take
several times as long (docs/performance.md). Whoever foresees the next frame can go its way once in vain just before.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Final

# Intervals that say when the next moment may come at the earliest.
_REMEMBERED: Final = 8
_LEAST: Final = 4
# From warming up to the earliest moment: less gains nothing, and with 4 ms half of the gain is lost.
_LEAD_NS: Final = 1_000_000
# Who begins later than that may still be at it when the moment comes.
_LATE_NS: Final = _LEAD_NS // 2
# What is used more often stays warm by itself; and what is further apart is no row.
_SHORTEST_NS: Final = 5_000_000
_LONGEST_NS: Final = 1_000_000_000
# Where moments come that much earlier than usual, whoever is warm in time for them is cold again for the others.
_JITTER_NS: Final = 3_000_000
# Moments in a row that may be missing, before the row is over.
_MOST_MISSING: Final = 4


class Beat:
    """Remembers the latest moments; they are noted one after the other, and one thread asks."""

    def __init__(self) -> None:
        self._moments: deque[int] = deque(maxlen=_REMEMBERED + 1)
        self._warm_ns = 0
        self._shortest: tuple[int, int | None] = (0, None)  # as of which moment, and the interval

    def note(self, at_ns: int) -> None:
        """One of the moments is now."""
        self._moments.append(at_ns)

    def warmed_up(self, at_ns: int) -> None:
        """It was warmed up for the next moment."""
        self._warm_ns = at_ns

    def warm_up_ns(self, now_ns: int) -> int | None:
        """Return when to warm up next: not after ``now_ns`` where that is due; None where nothing can be foreseen."""
        if not self._moments:
            return None
        latest = self._moments[-1]
        if self._shortest[0] != latest:
            self._shortest = latest, self._shortest_interval()
        shortest = self._shortest[1]
        if shortest is None:
            return None
        due_ns = latest + shortest - _LEAD_NS
        if self._warm_ns < due_ns and now_ns < due_ns + _LATE_NS:
            return due_ns
        # That is done, or too late: what is due is the moment after it.
        steps = (max(now_ns - _LATE_NS, self._warm_ns) + _LEAD_NS - latest) // shortest
        return due_ns + steps * shortest if steps <= _MOST_MISSING else None

    def _shortest_interval(self) -> int | None:
        """Return how soon the next moment may come after the latest; None where they are no row."""
        moments = list(self._moments)
        if len(moments) <= _LEAST:
            return None
        intervals = sorted(after - before for before, after in pairwise(moments))
        shortest, usual = intervals[0], intervals[len(intervals) // 2]
        if not _SHORTEST_NS <= usual <= _LONGEST_NS or usual - shortest > _JITTER_NS:
            return None
        return shortest
