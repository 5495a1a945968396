"""Which encoding makes poses younger, raw or JPEG: decided from what frames of both really took.

The cost of a frame is the time from when it could leave to when the server has its pixels. The encoding in use is
measured all the time, the other one by trials of a few frames, which are rare enough to cost next to nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

# Trials of the other encoding, together, may take this share of the time.
_TRIAL_SHARE = 0.01
_TRIAL_FRAMES = 4
_USUAL_FRAMES = 8
_FIRST_PAUSE_NS = 5_000_000_000
_LONGEST_PAUSE_NS = 60_000_000_000
# Even where the link seems to have changed.
_SHORTEST_PAUSE_NS = 1_000_000_000
_CHANGED = 2.0
# JPEG has to win clearly, for it costs detail and processor time; raw frames need only be as good.
_CLEARLY_LESS = 0.75
_CLEARLY_LESS_NS = 2_000_000
# No processor compresses and decodes faster than that (libjpeg-turbo on one core: 0.2 to 0.35), so a link that carries
# raw frames faster needs no trial.
_FASTEST_BYTES_PER_NS = 0.4
# Decoding on the server takes that many times what compressing took (measured with libjpeg-turbo: 1.0 to 1.3).
_DECODE = 1.25


@dataclass(frozen=True, slots=True)
class Passage:
    """What one frame took to reach the server.

    Attributes:
        jpeg: how it travelled.
        pixel_bytes: of the frame before it was compressed.
        compress_ns: to compress it; 0 for a raw frame.
        transfer_ns: from leaving to the server's answer.
    """

    jpeg: bool
    pixel_bytes: int
    compress_ns: int
    transfer_ns: int

    @property
    def cost_ns(self) -> float:
        """All of it, decoding included."""
        return self.transfer_ns + (1 + _DECODE) * self.compress_ns


class EncodeChoice:
    """Chooses the encoding of one stream's frames; not thread-safe."""

    def __init__(self) -> None:
        self.jpeg = False
        self._pixel_bytes = 0
        self._usual: deque[float] = deque(maxlen=_USUAL_FRAMES)
        self._reference_ns: float | None = None  # what the encoding in use cost when it was last compared
        self._pause_ns: float = _FIRST_PAUSE_NS
        self._next_trial_ns: float = 0  # unless the link seems to have changed
        self._earliest_trial_ns: float = 0
        self._trial: list[float] | None = None
        self._trial_under_way = False

    def begin(self) -> None:
        """A new session: no frame is under way, and what frames cost is not known. The choice stays."""
        self._usual.clear()
        self._trial, self._trial_under_way = None, False

    def next_is_jpeg(self) -> bool:
        """Return the encoding of the frame that leaves now; during a trial one frame at a time has the other one."""
        if self._trial is not None and not self._trial_under_way:
            self._trial_under_way = True
            return not self.jpeg
        return self.jpeg

    def passed(self, passage: Passage, now_ns: int) -> bool:
        """Note what a frame took; returns whether the choice changed."""
        if passage.pixel_bytes != self._pixel_bytes:
            # Another size: nothing that was measured holds any more.
            self._pixel_bytes = passage.pixel_bytes
            self.begin()
            self._reference_ns, self._next_trial_ns = None, 0
        if self._trial is None:
            if passage.jpeg == self.jpeg:
                self._usual.append(passage.cost_ns)
                self._consider_trial(now_ns)
        elif passage.jpeg != self.jpeg:
            self._trial.append(passage.cost_ns)
            self._trial_under_way = False
            return self._judge(self._trial, now_ns)
        return False

    def _consider_trial(self, now_ns: int) -> None:
        if len(self._usual) < _USUAL_FRAMES:
            return
        # The quickest, not the usual one: what holds up some frames of a fast link is no matter of their size.
        if not self.jpeg and min(self._usual) < self._pixel_bytes / _FASTEST_BYTES_PER_NS + _CLEARLY_LESS_NS:
            return
        usual_ns = median(self._usual)
        if self._has_changed(usual_ns):
            self._pause_ns, self._next_trial_ns = _FIRST_PAUSE_NS, self._earliest_trial_ns
        if now_ns >= self._next_trial_ns:
            self._trial = []

    def _has_changed(self, usual_ns: float) -> bool:
        """Whether the other encoding may do better now than when it was last tried."""
        if self._reference_ns is None:
            return False
        if self.jpeg:
            return usual_ns * _CHANGED < self._reference_ns
        return usual_ns > self._reference_ns * _CHANGED

    def _judge(self, trial: list[float], now_ns: int) -> bool:
        usual_ns, tried_ns = median(self._usual), median(trial)
        hopeless = trial[-1] > 2 * usual_ns
        if not hopeless and len(trial) < _TRIAL_FRAMES:
            return False
        if self.jpeg:
            better = tried_ns <= usual_ns
        else:
            better = tried_ns < min(_CLEARLY_LESS * usual_ns, usual_ns - _CLEARLY_LESS_NS)
        changed = better and not hopeless
        self._reference_ns = tried_ns if changed else usual_ns
        other_ns = usual_ns if changed else tried_ns
        self._earliest_trial_ns = now_ns + _SHORTEST_PAUSE_NS
        self._next_trial_ns = now_ns + max(self._pause_ns, _TRIAL_FRAMES * other_ns / _TRIAL_SHARE)
        self._pause_ns = min(2 * self._pause_ns, _LONGEST_PAUSE_NS)
        self.jpeg ^= changed
        self.begin()
        return changed
