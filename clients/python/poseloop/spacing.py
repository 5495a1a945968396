"""How soon one live frame may follow another onto the network, from the round trips of those before them.

A frame that leaves while the link still carries the one before it only waits in a buffer where no newer frame can
replace it. One that waits for the answer leaves the link idle for a round trip. In between, a frame may leave when the
one before it has passed the link's slowest part; how long that takes is learned from how much longer than usual a frame
was under way that followed too soon, as TCP Vegas learns its window (Brakmo and Peterson 1995).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

# Queueing below this share of a round trip, or below this time, is not worth holding frames back for. The time is the
# jitter of a fast network and of two processes that share a core.
_TOLERATED_SHARE = 1 / 8
_TOLERATED_NS = 2_000_000
# How quickly a shorter spacing is tried while nothing queues: after the first answer, and once frames have queued.
_FIRST_DECAY = 0.85
_DECAY = 0.95
# Round trips that decide what is usual; old ones are forgotten, for links become slower too.
_REMEMBERED = 32
# Frames whose sizes differ by no more than that take about the same time.
_ALIKE = 0.8


@dataclass(frozen=True, slots=True)
class _Sent:
    """A frame under way, and the one that was under way when it left."""

    at_ns: int
    size: int
    before: _Sent | None


class Spacing:
    """Learns the spacing of one session's frames; not thread-safe."""

    def __init__(self) -> None:
        self._under_way: dict[int, _Sent] = {}
        self._last: _Sent | None = None
        self._round_trips: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)  # bytes, nanoseconds
        self._busy_ns_per_byte = math.inf  # until the first answer no frame follows another
        self._decay = _FIRST_DECAY

    def may_follow(self, now_ns: int) -> bool:
        """Whether a frame that leaves now would find the link free, as far as is known."""
        if not self._under_way or self._last is None:
            return True
        return now_ns - self._last.at_ns >= self._last.size * self._busy_ns_per_byte

    def sent(self, sequence: int, size: int, now_ns: int) -> None:
        """A frame of so many bytes leaves."""
        before = self._last if self._under_way else None
        # What was before that one is of no interest any more, and must not be kept alive.
        if before is not None:
            before = _Sent(before.at_ns, before.size, None)
        self._last = self._under_way[sequence] = _Sent(now_ns, size, before)

    def answered(self, sequence: int, now_ns: int) -> None:
        """The server says that it received a frame."""
        sent = self._under_way.pop(sequence, None)
        if sent is None:
            return
        round_trip_ns = now_ns - sent.at_ns
        self._round_trips.append((sent.size, round_trip_ns))
        usual_ns = min(taken for size, taken in self._round_trips if size >= _ALIKE * sent.size)
        queued_ns = round_trip_ns - usual_ns
        if sent.before is not None and queued_ns > max(_TOLERATED_NS, _TOLERATED_SHARE * usual_ns):
            # Had it left that much later, it would not have queued.
            self._busy_ns_per_byte = (sent.at_ns - sent.before.at_ns + queued_ns) / sent.before.size
            self._decay = _DECAY
        elif math.isinf(self._busy_ns_per_byte):
            self._busy_ns_per_byte = round_trip_ns / sent.size
        else:
            self._busy_ns_per_byte *= self._decay
