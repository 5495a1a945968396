"""The synthetic animal's anatomy: where its parts lie in a frame, given how it stands.

Body coordinates: ``forward`` along the spine from the middle of the body towards the nose, ``side`` towards the
animal's right as it is seen from above (the image's y axis points down). Lengths below are fractions of the body
length, snout to tail base. A bent spine is a parabola; a point is carried along by shifting it sideways with the spine
under it, so the way from body to frame and back is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

KEYPOINTS: Final = ("snout", "left_ear", "right_ear", "neck", "body_centre", "tail_base", "tail_tip")
SKELETON: Final = (
    ("snout", "left_ear"),
    ("snout", "right_ear"),
    ("left_ear", "neck"),
    ("right_ear", "neck"),
    ("neck", "body_centre"),
    ("body_centre", "tail_base"),
    ("tail_base", "tail_tip"),
)
SWAP_PAIRS: Final = (("left_ear", "right_ear"),)

SNOUT: Final = 0.5
EARS: Final = (0.255, 0.105)  # forward, side
NECK: Final = 0.19
TAIL_BASE: Final = -0.5
TAIL_LENGTH: Final = 0.72

# Half the width of the body, by place along the spine; its square is interpolated, which rounds the ends.
OUTLINE_FORWARD: Final = (-0.54, -0.51, -0.45, -0.36, -0.22, -0.05, 0.08, 0.17, 0.25, 0.34, 0.42, 0.48, 0.52)
OUTLINE_HALF_WIDTH: Final = (0.0, 0.036, 0.088, 0.148, 0.182, 0.170, 0.142, 0.122, 0.120, 0.100, 0.068, 0.044, 0.0)


@dataclass(frozen=True, slots=True)
class Posture:
    """How the animal stands at one moment.

    Attributes:
        x, y: middle of the body, in pixels of the frame.
        heading: where the middle of the body points, in radians; 0 is right, a quarter turn is down the image.
        bend: curvature of the spine, in 1/pixel; positive towards the animal's right.
        head_turn: curvature that the front half has on top of it.
        gait: phase of the steps, in radians.
        stride: how far the paws reach, 0 (standing) to 1 (running).
        tail_bend, tail_hook: second and third order of the tail's shape, in 1/pixel and 1/pixel².
    """

    x: float
    y: float
    heading: float
    bend: float
    head_turn: float
    gait: float
    stride: float
    tail_bend: float
    tail_hook: float

    def spine(self, forward: float) -> float:
        """Sideways shift of the spine ``forward`` pixels before the middle of the body."""
        ahead = max(forward, 0.0)
        return 0.5 * (self.bend * forward * forward + self.head_turn * ahead * ahead)

    def to_frame(self, forward: float, side: float) -> tuple[float, float]:
        """Carry a point from straight body coordinates, in pixels, into the frame."""
        cosine, sine = math.cos(self.heading), math.sin(self.heading)
        across = side + self.spine(forward)
        return self.x + forward * cosine - across * sine, self.y + forward * sine + across * cosine


@dataclass(frozen=True, slots=True)
class Tail:
    """The tail as a cubic: ``side = root + slope * back + bend * back² + hook * back³``, ``back`` from its base on."""

    root: float
    slope: float
    bend: float
    hook: float
    reach: float

    @classmethod
    def of(cls, posture: Posture, body_length: float) -> Tail:
        """Continue the spine smoothly behind the body; a tail that swings out reaches back less far."""
        base = TAIL_BASE * body_length
        slope = -posture.bend * base
        length = TAIL_LENGTH * body_length
        sideways = slope + posture.tail_bend * length + posture.tail_hook * length * length
        reach = length / math.sqrt(1.0 + sideways * sideways)
        return cls(posture.spine(base), slope, posture.tail_bend, posture.tail_hook, reach)

    def side(self, back: float) -> float:
        """Sideways place of the tail ``back`` pixels behind its base, in unbent body coordinates."""
        return self.root + back * (self.slope + back * (self.bend + back * self.hook))

    def to_frame(self, posture: Posture, body_length: float, back: float) -> tuple[float, float]:
        """Place in the frame of the point of the tail that lies ``back`` pixels behind its base."""
        cosine, sine = math.cos(posture.heading), math.sin(posture.heading)
        forward = TAIL_BASE * body_length - back
        across = self.side(back)
        return posture.x + forward * cosine - across * sine, posture.y + forward * sine + across * cosine


def keypoints_of(posture: Posture, body_length: float) -> NDArray[np.float64]:
    """Return every keypoint as float64 ``(keypoints, 2)``: x, y in pixels of the frame, in the order of `KEYPOINTS`."""
    ear_forward, ear_side = EARS[0] * body_length, EARS[1] * body_length
    tail = Tail.of(posture, body_length)
    return np.array(
        [
            posture.to_frame(SNOUT * body_length, 0.0),
            posture.to_frame(ear_forward, -ear_side),
            posture.to_frame(ear_forward, ear_side),
            posture.to_frame(NECK * body_length, 0.0),
            (posture.x, posture.y),
            posture.to_frame(TAIL_BASE * body_length, 0.0),
            tail.to_frame(posture, body_length, tail.reach),
        ]
    )
