"""A pose on its way through the stages and triggers of a stream."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from poseloop.types import Keypoint


@dataclass(slots=True)
class LoopPose:
    """What stages change and triggers read: one pose, with the times that a decision may depend on.

    A stage gets one and returns one, the same or another. Times are nanoseconds of the server's monotonic clock. Since
    ``decided_ns`` is all that stages and triggers know of the time, and stands in the log, a replay decides alike:
    nothing that handles a `LoopPose` reads a clock.

    Attributes:
        stream: that the frame came from.
        sequence: of the frame.
        captured_ns: when the frame was taken.
        decided_ns: for the stages, when inference had ended; for the triggers, when the stages had.
        time_ns: the time that the keypoints are of: ``captured_ns``, or later once a stage has predicted them.
        width: of the frame, in pixels.
        height: of the frame, in pixels.
        names: of the keypoints, in the order of their axis.
        keypoints: float32 ``(instances, keypoints, 3)``: x, y in pixels of the frame, confidence in [0, 1]; what is
            absent is NaN.
        values: quantities that stages add, by name, for conditions and for the record.
        image: uint8 ``(height, width)`` or ``(height, width, 3)`` as the model's colour has it, for stages that look at
            pixels; None where there is none, as in a replay, which takes ``values`` from the log instead.
        doubts: why this pose must not fire anything, as short texts; empty: it may.
    """

    stream: str
    sequence: int
    captured_ns: int
    decided_ns: int
    time_ns: int
    width: int
    height: int
    names: tuple[str, ...]
    keypoints: NDArray[np.float32]
    values: dict[str, float] = field(default_factory=dict)
    image: NDArray[np.uint8] | None = None
    doubts: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Keypoint:
        """Return the first instance's keypoint of that name."""
        try:
            row = self.keypoints[0, self.names.index(name)]
        except ValueError:
            raise KeyError(f"no keypoint {name!r}; this pose has {', '.join(self.names)}") from None
        return Keypoint(float(row[0]), float(row[1]), float(row[2]))
