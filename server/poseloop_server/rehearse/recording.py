"""What a rehearsal runs on: recorded poses with the times that they had, or would have had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from poseloop.types import Frame

from poseloop_server.loop.decision import Arming


@dataclass(frozen=True, slots=True)
class RecordedPose:
    """One pose; times are nanoseconds since the recording began.

    Attributes:
        frame: its number, from 0; in a log the frame's sequence number.
        captured_ns: when the frame was taken.
        decided_ns: when inference had ended, or would have, and in a log when the stages had.
        width: of the frame, in pixels.
        height: of the frame, in pixels.
        keypoints: float32 ``(instances, keypoints, 3)``, never written to.
        values: quantities that a log holds and no pose has.
        doubts: why it must not fire anything, known before the stages.
        inferred_ns: when inference had ended, where ``decided_ns`` is later; None: it is not.
        image: uint8 ``(height, width, channels)`` in the model's colour; None where there is none.
        picture: the frame as it was decoded, to be drawn on; None where there is none.
    """

    frame: int
    captured_ns: int
    decided_ns: int
    width: int
    height: int
    keypoints: NDArray[np.float32]
    values: Mapping[str, float] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    inferred_ns: int | None = None
    image: NDArray[np.uint8] | None = None
    picture: Frame | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """No pose came for a while, or the stream was closed, ``decided_ns`` after the beginning; only logs have it."""

    reason: str
    decided_ns: int


@dataclass(frozen=True, slots=True)
class Reopened:
    """The stream was opened anew; only logs have it."""


Item = RecordedPose | Arming | Pause | Reopened


class Recording(Protocol):
    """Poses in the order of their frames.

    Attributes:
        description: what it is, for people.
        keypoints: names, in the order of their axis.
        frames: how many poses to expect; 0: not known.
        has_images: whether its poses have images or, in a log, the values that were made of them.
    """

    description: str
    keypoints: tuple[str, ...]
    frames: int
    has_images: bool

    def __iter__(self) -> Iterator[Item]: ...

    def remarks(self) -> list[str]:
        """Return what it lacks, in one sentence each; asked once all of it was gone through."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When the frames of a recording without times of its own were captured, and decided.

    Attributes:
        fps: frames a second.
        latency_ns: from capture to decision.
    """

    fps: float
    latency_ns: int

    def of(self, frame: int) -> tuple[int, int]:
        """Return when a frame was captured and decided, in nanoseconds since the first one was captured."""
        captured_ns = round(frame / self.fps * 1e9)
        return captured_ns, captured_ns + self.latency_ns
